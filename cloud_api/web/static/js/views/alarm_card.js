/** One active alarm in the list beside the beds. */

import { h, setAttribute, setText } from "../dom.js";
import { clock } from "../format.js";
import { t } from "../i18n.js";
import { isUnanswered } from "../ordering.js";
import { AlarmBand, answerState, answerText, markAlert } from "./alarm_band.js";

export class AlarmCard {
  #band;
  #bed = h("span", { class: "card-bed" });
  #onset = h("span", { class: "card-onset" });
  #model = h("span", { class: "card-model" });
  #answer = h("p", { class: "answer", "data-testid": "answer" });
  #call = h("p", { class: "call", "data-testid": "call" });
  #button;
  /** @type {string} */
  #alertId = "";

  /**
   * @param {(alertId: string) => void} onOpen
   * @param {(alertId: string) => void} onAcknowledge
   */
  constructor(onOpen, onAcknowledge) {
    this.#band = new AlarmBand(onOpen);
    this.#button = h("button", {
      class: "acknowledge",
      type: "button",
      "data-testid": "acknowledge",
      onclick: () => onAcknowledge(this.#alertId),
    });
    const facts = h("div", { class: "card-facts" }, this.#bed, this.#onset, this.#model);
    const foot = h("div", { class: "card-foot" }, facts, this.#button);
    const attributes = { class: "card", "data-testid": "alarm-card" };
    this.element = h("article", attributes, this.#band.element, foot, this.#call, this.#answer);
  }

  /**
   * @param {Ward.Alert} alert
   * @param {import("../store.js").Store} store
   * @param {number} nowMs
   */
  update(alert, store, nowMs) {
    this.#alertId = alert.alert_id;
    const pending = store.pending.get(alert.alert_id);
    markAlert(this.element, alert);
    this.#band.update(alert, 0, nowMs);
    setText(this.#bed, alert.bed_id || alert.device_id);
    setText(this.#onset, clock(alert.onset_time_ns));
    setText(this.#model, judgedBy(alert));
    const state = answerState(alert, pending);
    setText(this.#answer, answerText(alert, pending));
    setAttribute(this.#answer, "data-answer", state);
    this.#answer.hidden = !this.#answer.textContent;
    const call = isUnanswered(alert) ? alert.escalation : null;
    setText(this.#call, call && call.level > 0 ? t("escalation.called", { role: t(`escalation.role.${call.role}`) }) : "");
    this.#call.hidden = !this.#call.textContent;
    setText(this.#button, t("alert.acknowledge"));
    const answerable = isUnanswered(alert) && store.hasRole("nurse", "physician");
    this.#button.hidden = !answerable || state === "sent";
    this.#button.disabled = state === "sending";
  }
}

/** @param {Ward.Alert} alert */
export function judgedBy(alert) {
  const version = alert.model_version;
  return version === "none" ? t("alert.rule") : t("alert.model", { version });
}
