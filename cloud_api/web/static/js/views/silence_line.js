/** One silence in words: which, by whom, for how long yet, and whether it works. */

import { h, setAttribute, setText } from "../dom.js";
import { duration } from "../format.js";
import { conditionLabel, t } from "../i18n.js";

/**
 * @param {Ward.Alert} silence
 * @param {number} nowMs server clock
 */
export function silenceText(silence, nowMs) {
  const terms = silence.terms;
  const leftS = terms?.expires_time_ns ? (terms.expires_time_ns / 1e6 - nowMs) / 1000 : null;
  const what = [t(`silence.${silence.condition}`)];
  if (terms?.scope) what.push(conditionLabel({ condition: terms.scope, label: terms.scope.replaceAll("_", " ") }));
  if (leftS !== null) what.push(duration(leftS));
  what.push(terms?.author ?? "");
  if (terms && !terms.held) what.push(t("silence.notHeld"));
  return what.filter(Boolean).join(" · ");
}

/** A silence of a bed, with its end. */
export class SilenceLine {
  #text = h("span", { class: "silence-text" });
  #end;
  #id = "";

  /** @param {((silenceId: string) => void) | null} onEnd null: only shown */
  constructor(onEnd) {
    const attributes = { class: "quiet-button", type: "button", "data-testid": "end-silence" };
    this.#end = h("button", { ...attributes, onclick: () => onEnd?.(this.#id) });
    this.#end.hidden = onEnd === null;
    this.element = h("p", { class: "silence", "data-testid": "silence" }, this.#text, this.#end);
  }

  /**
   * @param {Ward.Alert} silence
   * @param {number} nowMs
   */
  update(silence, nowMs) {
    this.#id = silence.alert_id;
    setAttribute(this.element, "data-kind", silence.condition);
    setAttribute(this.element, "data-held", String(silence.terms?.held ?? false));
    setText(this.#text, silenceText(silence, nowMs));
    setText(this.#end, t("silence.end"));
  }
}
