/** How one alarm shows everywhere: mark, name, time, and what became of it. */

import { h, setAttribute, setText } from "../dom.js";
import { clock, duration } from "../format.js";
import { conditionLabel, t } from "../i18n.js";
import { isActive, isUnanswered, MARK } from "../ordering.js";

const NS_PER_S = 1e9;

/**
 * Seconds the alarm has lasted, or did last.
 * @param {Ward.Alert} alert
 * @param {number} nowMs server clock
 */
export function lastingSeconds(alert, nowMs) {
  const endNs = isActive(alert) ? nowMs * 1e6 : alert.event_time_ns;
  return (endNs - alert.onset_time_ns) / NS_PER_S;
}

/**
 * Give `element` the attributes that colour it and that tests look for.
 * @param {Element} element
 * @param {Ward.Alert | null} alert
 */
export function markAlert(element, alert) {
  setAttribute(element, "data-alert-id", alert?.alert_id ?? null);
  setAttribute(element, "data-condition", alert?.condition ?? null);
  setAttribute(element, "data-priority", alert?.priority ?? null);
  setAttribute(element, "data-presence", alert?.presence ?? null);
  setAttribute(element, "data-acknowledgement-state", alert?.acknowledgement_state ?? null);
}

/**
 * What became of it, in words; empty while nobody answered.
 * @param {Ward.Alert} alert
 * @param {Ward.Pending | undefined} pending
 */
export function answerText(alert, pending) {
  if (pending?.state === "sending") return t("alert.sending");
  if (pending?.state === "failed") return t("alert.failed", { why: pending.message });
  const who = alert.acknowledged_by ?? "";
  if (alert.acknowledgement_state === "sent") return t("alert.sent", { who });
  if (alert.acknowledgement_state === "none" && !who) return "";
  if (alert.transition === "acknowledged" || alert.transition === "ended")
    return t("alert.acknowledged", { who, at: clock(alert.decided_time_ns) });
  return t("alert.acknowledged.noTime", { who });
}

/** Steps of an answer, shown with the words. @param {Ward.Alert} alert @param {Ward.Pending | undefined} pending */
export function answerState(alert, pending) {
  if (pending) return pending.state;
  return alert.acknowledgement_state;
}

/** The coloured band of a tile or a card: a button that opens the alarm. */
export class AlarmBand {
  #mark = h("span", { class: "mark", "aria-hidden": "true" });
  #name = h("span", { class: "band-name" });
  #note = h("span", { class: "band-note" });
  #time = h("span", { class: "band-time" });
  #more = h("span", { class: "band-more" });
  /** @type {Ward.Alert | null} */
  #alert = null;

  /** @param {(alertId: string) => void} onOpen */
  constructor(onOpen) {
    this.element = h(
      "button",
      {
        class: "band",
        type: "button",
        "data-testid": "alarm-band",
        onclick: () => this.#alert && onOpen(this.#alert.alert_id),
      },
      this.#mark, this.#name, this.#note, this.#time, this.#more,
    ); // prettier-ignore
  }

  /**
   * @param {Ward.Alert} alert
   * @param {number} nMore others of the same bed
   * @param {number} nowMs server clock
   */
  update(alert, nMore, nowMs) {
    this.#alert = alert;
    markAlert(this.element, alert);
    setAttribute(this.element, "data-kind", alert.kind);
    const label = conditionLabel(alert);
    setText(this.#mark, MARK[alert.priority]);
    setText(this.#name, label);
    setText(this.#note, noteOf(alert));
    setText(this.#time, duration(lastingSeconds(alert, nowMs)));
    setText(this.#more, nMore > 0 ? t("alert.more", { n: nMore }) : "");
    const spoken = `${t(`priority.${alert.priority}`)}. ${t("alert.open", { label, bed: alert.bed_id })}`;
    setAttribute(this.element, "aria-label", spoken);
    setAttribute(this.element, "title", label);
  }
}

/** @param {Ward.Alert} alert */
function noteOf(alert) {
  if (alert.presence === "latch") return t("presence.latch.short");
  if (!isUnanswered(alert)) return `✓ ${alert.acknowledged_by ?? ""}`.trim();
  return alert.kind === "technical" ? t("kind.technical") : "";
}
