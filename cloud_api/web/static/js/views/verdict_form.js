/** Whether the alarm was right: what the next model learns from. */

import { reasonFor } from "../actions.js";
import { api } from "../api.js";
import { fill, h, setAttribute, setText } from "../dom.js";
import { moment } from "../format.js";
import { t } from "../i18n.js";

/** @type {readonly Ward.VerdictWord[]} */
const WORDS = ["true", "false", "unsure"];

export class VerdictForm {
  #alertId = "";
  /** @type {Ward.Verdict[]} */
  #given = [];
  #title = h("h3");
  #note = h("p", { class: "hint" });
  #list = h("ul", { class: "verdicts", "data-testid": "verdicts" });
  #message = h("p", { class: "problem", role: "status" });
  /** @type {HTMLButtonElement[]} */
  #buttons;

  /** @param {import("../store.js").Store} store */
  constructor(store) {
    this.store = store;
    this.#buttons = WORDS.map((word) =>
      h("button", {
        type: "button",
        class: "verdict",
        "data-verdict": word,
        "data-testid": `verdict-${word}`,
        onclick: () => this.#give(word),
      }),
    );
    const row = h("div", { class: "verdict-row", role: "group" }, ...this.#buttons);
    this.element = h("section", { class: "verdict-form" }, this.#title, this.#note, row);
    this.element.append(this.#message, this.#list);
  }

  /** @param {string} alertId */
  reset(alertId) {
    this.#alertId = alertId;
    this.#given = [];
    setText(this.#message, "");
    this.render();
  }

  /** @param {Ward.Verdict[]} verdicts */
  show(verdicts) {
    this.#given = [...verdicts].sort((a, b) => b.given_time_ns - a.given_time_ns);
    this.render();
  }

  render() {
    setText(this.#title, t("verdict.title"));
    setText(this.#note, t("verdict.note"));
    const may = this.store.hasRole("nurse", "physician");
    const mine = this.#given.find(({ author }) => author === this.store.session?.username);
    for (const button of this.#buttons) {
      const word = button.dataset["verdict"] ?? "";
      setText(button, t(`verdict.${word}`));
      setAttribute(button, "aria-pressed", String(mine?.verdict === word));
      button.disabled = !may;
    }
    const lines = this.#given.map(({ verdict, author, given_time_ns }) =>
      t("verdict.given", { verdict: t(`verdict.${verdict}`), who: author, at: moment(given_time_ns) }),
    );
    fill(this.#list, ...lines.map((line) => h("li", {}, line)));
  }

  /** @param {Ward.VerdictWord} word */
  async #give(word) {
    const alertId = this.#alertId;
    setText(this.#message, "");
    try {
      await api.judge(alertId, word, null);
      const { verdicts } = await api.alert(alertId);
      if (alertId === this.#alertId) this.show(verdicts);
    } catch (error) {
      setText(this.#message, t("verdict.failed", { why: reasonFor(error) }));
    }
  }
}
