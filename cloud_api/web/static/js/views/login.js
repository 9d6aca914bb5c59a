/** Sign-in. Signed out, the page must not look like a quiet ward. */

import { reasonFor } from "../actions.js";
import { api, ApiError } from "../api.js";
import { h, setText } from "../dom.js";
import { otherLanguage, setLanguage, t } from "../i18n.js";

/**
 * @param {{ended: boolean, onSession: (session: Ward.Session) => void, onLanguage: () => void}} options
 */
export function loginView({ ended, onSession, onLanguage }) {
  const name = h("input", { id: "username", name: "username", autocomplete: "username", required: true });
  const password = h("input", {
    id: "password", name: "password", type: "password", autocomplete: "current-password", required: true,
  }); // prettier-ignore
  const submit = h("button", { type: "submit", class: "primary" }, t("login.submit"));
  const problem = h("p", { class: "problem", role: "alert", "data-testid": "login-problem" });
  if (ended) setText(problem, t("login.ended"));

  /** @param {Event} event */
  const signIn = async (event) => {
    event.preventDefault();
    submit.disabled = true;
    setText(submit, t("login.busy"));
    try {
      onSession(await api.signIn(name.value.trim(), password.value));
    } catch (error) {
      const wrong = error instanceof ApiError && error.status === 401;
      setText(problem, wrong ? t("login.refused") : reasonFor(error));
      submit.disabled = false;
      setText(submit, t("login.submit"));
      password.select();
    }
  };
  const switchLanguage = () => {
    setLanguage(otherLanguage());
    onLanguage();
  };

  const form = h(
    "form",
    { class: "login-form", onsubmit: signIn },
    h("h1", {}, "Wardstream"),
    h("p", { class: "hint" }, t("app.tagline")),
    h("div", { class: "field" }, h("label", { for: "username" }, t("login.username")), name),
    h("div", { class: "field" }, h("label", { for: "password" }, t("login.password")), password),
    problem,
    submit,
    h("p", { class: "hint" }, t("login.note")),
  );
  const language = h("button", { type: "button", class: "quiet-button", onclick: switchLanguage });
  language.append(t("language.switch"));
  const view = h("main", { class: "login", "data-testid": "login" }, form, language);
  queueMicrotask(() => name.focus());
  return view;
}
