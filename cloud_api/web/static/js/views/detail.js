/** One alarm opened: the curves around it, what decided it, and what people say of it. */

import { acknowledge, reasonFor } from "../actions.js";
import { api } from "../api.js";
import { drawPaper, spanOf } from "../curves.js";
import { fill, h, setAttribute, setText } from "../dom.js";
import { clock, duration, evidence, moment } from "../format.js";
import { conditionLabel, t } from "../i18n.js";
import { isUnanswered, MARK } from "../ordering.js";
import { answerState, answerText, lastingSeconds, markAlert } from "./alarm_band.js";
import { judgedBy } from "./alarm_card.js";
import { SilenceForm } from "./silence_form.js";
import { VerdictForm } from "./verdict_form.js";

const OTHERS_SHOWN = 4;
const SPEEDS_MM_PER_S = [12.5, 25, 50];

export class AlertDialog {
  /** @type {Ward.Alert | null} */
  #alert = null;
  #speed = 25;
  #stripShown = "";
  #detailShown = "";
  #mark = h("span", { class: "mark", "aria-hidden": "true" });
  #name = h("h2", { id: "dialog-title" });
  #bed = h("span", { class: "dialog-bed" });
  #lasting = h("span", { class: "dialog-time" });
  #others = h("p", { class: "dialog-others", "data-testid": "other-alarms" });
  #facts = h("dl", { class: "facts" });
  #strip = h("div", { class: "strip", "data-testid": "strip" });
  #evidence = h("dl", { class: "facts evidence" });
  #events = h("ol", { class: "events" });
  #answer = h("p", { class: "answer", "data-testid": "answer" });
  #reason = h("input", { type: "text", maxlength: "200", id: "acknowledge-reason" });
  #reasonLabel = h("label", { for: "acknowledge-reason" });
  #acknowledge;
  #acknowledgeForm;
  #titles = {
    strip: h("h3"),
    evidence: h("h3"),
    events: h("h3"),
    answer: h("h3"),
  };

  /**
   * @param {import("../store.js").Store} store
   * @param {import("../strips.js").StripCache} strips
   * @param {import("../silences.js").StationPulse} pulse
   */
  constructor(store, strips, pulse) {
    this.store = store;
    this.strips = strips;
    this.verdict = new VerdictForm(store);
    this.silence = new SilenceForm(store, pulse);
    this.#acknowledge = h("button", { class: "acknowledge", type: "submit", "data-testid": "acknowledge" });
    this.#acknowledgeForm = h(
      "form",
      { class: "acknowledge-form", onsubmit: (event) => this.#onAcknowledge(event) },
      h("div", { class: "field" }, this.#reasonLabel, this.#reason),
      this.#acknowledge,
    );
    this.element = this.#build();
  }

  #build() {
    this.closeButton = h("button", { class: "close", type: "button", onclick: () => this.close() }, "✕");
    const head = h("header", { class: "dialog-head" }, this.#mark, this.#name, this.#bed, this.#lasting);
    head.append(this.closeButton);
    const answers = h("section", {}, this.#titles.answer, this.#answer, this.#acknowledgeForm);
    const left = h("div", {}, answers, this.silence.element, this.verdict.element);
    const right = h("div", {});
    right.append(this.#titles.evidence, this.#evidence, this.#titles.events, this.#events);
    const body = h("div", { class: "dialog-body" });
    body.append(this.#facts, h("section", {}, this.#titles.strip, this.#strip));
    body.append(h("div", { class: "dialog-columns" }, left, right));
    const attributes = { class: "alert-dialog", "aria-labelledby": "dialog-title", "data-testid": "alert-dialog" };
    return h("dialog", { ...attributes, onclose: () => this.#onClose() }, head, this.#others, body);
  }

  /** @param {Event} event */
  #onAcknowledge(event) {
    event.preventDefault();
    if (this.#alert) void acknowledge(this.store, this.#alert.alert_id, this.#reason.value.trim() || null);
  }

  /** @param {string} alertId */
  open(alertId) {
    this.#stripShown = this.#detailShown = this.#reason.value = "";
    fill(this.#strip, h("p", { class: "empty" }, t("alert.noStrip")));
    fill(this.#events);
    this.verdict.reset(alertId);
    this.silence.reset();
    const known = this.store.alerts.get(alertId);
    if (known) this.#alert = known;
    if (!this.element.open) this.element.showModal();
    this.render();
    void this.#loadDetail(alertId);
  }

  close() {
    this.element.close();
  }

  #onClose() {
    this.#alert = null;
    if (location.hash.startsWith("#/alarm/")) history.replaceState(null, "", "#/");
  }

  /** The server says that the strip came. @param {string} alertId */
  onStrip(alertId) {
    if (this.#alert?.alert_id === alertId) void this.#loadStrip(this.#alert);
  }

  render() {
    if (!this.#alert) return;
    const alert = this.store.alerts.get(this.#alert.alert_id) ?? this.#alert;
    this.#alert = alert;
    markAlert(this.element, alert);
    setText(this.#mark, MARK[alert.priority]);
    setText(this.#name, conditionLabel(alert));
    setText(this.#bed, alert.bed_id || alert.device_id);
    const age = duration(lastingSeconds(alert, this.store.nowMs()));
    setText(this.#lasting, t("alert.lasting", { age }));
    setAttribute(this.closeButton ?? this.element, "aria-label", t("alert.close"));
    this.#renderTitles();
    this.#renderOthers(alert);
    this.#renderAnswer(alert);
    this.silence.render(alert);
    this.#renderOnce(alert);
  }

  #renderTitles() {
    setText(this.#titles.strip, t("alert.strip"));
    setText(this.#titles.evidence, t("alert.evidence"));
    setText(this.#titles.events, t("alert.events"));
    setText(this.#titles.answer, t("alert.answer"));
    setText(this.#acknowledge, t("alert.acknowledge"));
    setText(this.#reasonLabel, t("alert.reason"));
    this.verdict.render();
  }

  /** An open dialog must not hide that another bed calls. @param {Ward.Alert} alert */
  #renderOthers(alert) {
    const others = this.store.activeAlerts().filter(({ alert_id }) => alert_id !== alert.alert_id);
    const calling = others.filter(isUnanswered);
    this.#others.hidden = calling.length === 0;
    const version = calling.map(({ alert_id }) => alert_id).join(" ") + document.documentElement.lang;
    if (this.#others.dataset["version"] === version) return;
    this.#others.dataset["version"] = version;
    const pills = calling.slice(0, OTHERS_SHOWN).map((other) => {
      const attributes = { type: "button", class: "count", "data-priority": other.priority };
      const onclick = () => this.open(other.alert_id);
      const text = `${MARK[other.priority]} ${other.bed_id} ${conditionLabel(other)}`;
      return h("button", { ...attributes, onclick }, text);
    });
    const more = calling.length - pills.length;
    fill(this.#others, t("alert.others"), ...pills, more > 0 && t("alert.more", { n: more }));
  }

  /** @param {Ward.Alert} alert */
  #renderAnswer(alert) {
    const pending = this.store.pending.get(alert.alert_id);
    const state = answerState(alert, pending);
    const mayAnswer = this.store.hasRole("nurse", "physician");
    let text = answerText(alert, pending);
    if (state === "confirmed") text += ` — ${t("alert.confirmed")}`;
    if (!mayAnswer && !text) text = t("alert.noRole");
    setText(this.#answer, text);
    setAttribute(this.#answer, "data-answer", state);
    const open = isUnanswered(alert) && mayAnswer && state !== "sent";
    this.#acknowledgeForm.hidden = !open;
    this.#acknowledge.disabled = state === "sending";
  }

  /** What changes only with the alert's own events. @param {Ward.Alert} alert */
  #renderOnce(alert) {
    const version = `${alert.alert_id} ${alert.event_id} ${alert.has_strip} ${document.documentElement.lang}`;
    if (version === this.#detailShown) return;
    this.#detailShown = version;
    fill(this.#facts, ...factsOf(alert));
    const figures = Object.entries(alert.evidence).map(([name, value]) => evidence(name, value));
    if (figures.length) fill(this.#evidence, ...figures.map(({ what, value }) => fact(what, value)));
    else fill(this.#evidence, h("p", { class: "empty" }, t("alert.evidence.none")));
    void this.#loadStrip(alert);
    void this.#loadDetail(alert.alert_id);
  }

  /** @param {string} alertId */
  async #loadDetail(alertId) {
    try {
      const detail = await api.alert(alertId);
      this.store.applyAlert(detail);
      if (this.#alert && this.#alert.alert_id !== alertId) return;
      if (!this.#alert && this.element.open) {
        this.#alert = this.store.alerts.get(alertId) ?? detail;
        this.render();
      }
      fill(this.#events, ...detail.events.map(eventLine));
      this.verdict.show(detail.verdicts);
    } catch (error) {
      fill(this.#events, h("li", { class: "empty" }, reasonFor(error)));
    }
  }

  /** @param {Ward.Alert} alert */
  async #loadStrip(alert) {
    const version = `${alert.alert_id} ${this.#speed} ${document.documentElement.lang}`;
    if (this.#stripShown === version) return;
    try {
      const strip = await this.strips.load(alert.alert_id);
      if (this.#alert?.alert_id !== alert.alert_id || this.#stripShown === version) return;
      if (!strip) return fill(this.#strip, h("p", { class: "empty" }, t("alert.noStrip")));
      this.#stripShown = version;
      this.#renderStrip(strip);
    } catch (error) {
      fill(this.#strip, h("p", { class: "empty" }, t("alert.strip.failed", { why: reasonFor(error) })));
    }
  }

  /** @param {Ward.Strip} strip */
  #renderStrip(strip) {
    const span = spanOf(strip);
    const rows = strip.channels.map((channel) => {
      const canvas = h("canvas", { role: "img", "aria-label": t("strip.label", { channel: channel.label }) });
      const scale = drawPaper(canvas, channel, span, strip.onset_time_ns, this.#speed);
      const text = h("span", {}, h("b", {}, channel.label), ` ${scale}`);
      const label = h("div", { class: "strip-label" }, text);
      return h("div", { class: "strip-row", "data-code": channel.code }, label, canvas);
    });
    const scroller = h("div", { class: "strip-scroller", tabindex: "0", role: "group" }, ...rows);
    scroller.setAttribute("aria-label", t("alert.strip"));
    const speeds = SPEEDS_MM_PER_S.map((speed) => this.#speedButton(speed));
    fill(this.#strip, scroller, h("div", { class: "strip-speeds" }, ...speeds));
    const onsetShare = (strip.onset_time_ns - span.startNs) / (span.endNs - span.startNs);
    const middle = onsetShare * scroller.scrollWidth - scroller.clientWidth / 2;
    scroller.scrollLeft = Math.max(0, middle);
  }

  /** @param {number} speed */
  #speedButton(speed) {
    const choose = () => {
      this.#speed = speed;
      if (this.#alert) void this.#loadStrip(this.#alert);
    };
    const pressed = String(speed === this.#speed);
    const attributes = { type: "button", class: "quiet-button", "aria-pressed": pressed, onclick: choose };
    return h("button", attributes, t("strip.speed", { speed }));
  }
}

/**
 * @param {string} name
 * @param {string} value
 */
const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

/** @param {Ward.Alert} alert */
function factsOf(alert) {
  const kind = t(`kind.${alert.kind}`);
  return [
    fact(t("alert.onset"), moment(alert.onset_time_ns)),
    fact(t("history.priority"), `${t(`priority.${alert.priority}`)} · ${kind}`),
    fact(t("history.state"), t(`presence.${alert.presence}`)),
    fact(t("alert.judgedBy"), judgedBy(alert)),
    fact(t("alert.mode"), t(`mode.${alert.generation_mode}`)),
    fact(t("alert.device"), alert.device_id),
    fact(t("alert.id"), alert.alert_id),
  ];
}

/** @param {Ward.Alert} event */
function eventLine(event) {
  const who = event.actor ?? (event.transition === "acknowledged" ? (event.acknowledged_by ?? "") : "");
  return h(
    "li",
    { "data-transition": event.transition },
    h("time", {}, clock(event.event_time_ns)),
    h("span", {}, [t(`transition.${event.transition}`), who, event.reason].filter(Boolean).join(" · ")),
  );
}
