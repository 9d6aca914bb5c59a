/** The bar on top: where you are, what calls, whether the page is alive, who you are. */

import { h, setAttribute, setText } from "../dom.js";
import { clock } from "../format.js";
import { otherLanguage, setLanguage, t } from "../i18n.js";
import { countUnanswered, MARK, PRIORITIES } from "../ordering.js";

const VIEWS = /** @type {const} */ (["station", "history", "operations"]);
/** @typedef {typeof VIEWS[number]} ViewName */

/** @type {Record<ViewName, string>} */
export const ADDRESS = { station: "#/", history: "#/alarms", operations: "#/operations" };

export class Header {
  #links = VIEWS.map((name) => h("a", { href: ADDRESS[name], "data-view": name }));
  #counts = PRIORITIES.map((priority) =>
    h("span", { class: "count", "data-priority": priority, "data-testid": `count-${priority}` }),
  );
  #link = h("span", { class: "link-state", "data-testid": "link-state" });
  #clock = h("time", { class: "clock" });
  #sound = h("button", { type: "button", class: "sound", "data-testid": "sound" });
  #language = h("button", { type: "button", class: "quiet-button", "data-testid": "language" });
  #user = h("span", { class: "user" });
  #signOut = h("button", { type: "button", class: "quiet-button", "data-testid": "sign-out" });
  #skip = h("a", { class: "skip", href: "#beds" });

  /**
   * @param {import("../store.js").Store} store
   * @param {import("../sound.js").AlarmSound} sound
   * @param {{onLanguage: () => void, onSignOut: () => void}} listeners
   */
  constructor(store, sound, listeners) {
    this.store = store;
    this.sound = sound;
    this.#sound.addEventListener("click", async () => {
      await sound.setWanted(!sound.audible);
      store.changed();
    });
    this.#language.addEventListener("click", () => {
      setLanguage(otherLanguage());
      listeners.onLanguage();
    });
    this.#signOut.addEventListener("click", listeners.onSignOut);
    this.#skip.addEventListener("click", (event) => {
      event.preventDefault();
      document.getElementById("beds")?.focus();
    });
    this.element = this.#build();
  }

  #build() {
    const logo = h("img", { src: "icon.svg", alt: "", width: "26", height: "26" });
    const brand = h("span", { class: "brand" }, logo, "Wardstream");
    const nav = h("nav", { class: "views" }, ...this.#links);
    const counts = h("div", { class: "counts" }, ...this.#counts);
    const right = h("div", { class: "header-right" }, this.#link, this.#clock, this.#sound);
    right.append(this.#language, this.#user, this.#signOut);
    return h("header", { class: "header" }, this.#skip, brand, nav, counts, right);
  }

  /** @param {ViewName} current */
  render(current) {
    setText(this.#skip, t("nav.skip"));
    for (const link of this.#links) {
      const name = link.dataset["view"] ?? "";
      setText(link, t(`nav.${name}`));
      setAttribute(link, "aria-current", name === current ? "page" : null);
    }
    this.#renderCounts();
    setText(this.#link, t(`link.${this.store.link}`));
    setAttribute(this.#link, "data-link", this.store.link);
    setText(this.#clock, clock(this.store.nowMs() * 1e6));
    this.#renderSound();
    setText(this.#language, t("language.switch"));
    setAttribute(this.#language, "title", t("language.switch.title"));
    setText(this.#user, this.store.session?.username ?? "");
    setText(this.#signOut, t("session.signOut"));
  }

  #renderCounts() {
    const counts = countUnanswered(this.store.activeAlerts());
    PRIORITIES.forEach((priority, index) => {
      const element = this.#counts[index];
      if (!element) return;
      const n = counts[priority];
      setText(element, `${MARK[priority]} ${n}`);
      setAttribute(element, "data-zero", n === 0 ? "true" : null);
      setAttribute(element, "title", `${t(`priority.${priority}`)}: ${n}`);
    });
  }

  #renderSound() {
    const { audible } = this.sound;
    setText(this.#sound, audible ? `♪ ${t("sound.on")}` : `✕ ${t("sound.enable")}`);
    setAttribute(this.#sound, "data-audible", String(audible));
    setAttribute(this.#sound, "data-melody", this.sound.melody);
    setAttribute(this.#sound, "aria-pressed", String(audible));
    setAttribute(this.#sound, "title", t(audible ? "sound.title.on" : "sound.title.off"));
  }
}
