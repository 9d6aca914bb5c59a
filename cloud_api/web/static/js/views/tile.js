/** One bed on the central station. */

import { drawMiniature, drawTrend, trendMinutes } from "../curves.js";
import { h, setAttribute, setText } from "../dom.js";
import { ABSENT, interval, number, problem } from "../format.js";
import { language, t } from "../i18n.js";
import { STALE_AFTER_S } from "../store.js";
import { AlarmBand, markAlert } from "./alarm_band.js";
import { silenceText } from "./silence_line.js";

/** A value with its label. */
class Numeric {
  #label = h("span", { class: "numeric-label" });
  #main = h("span");
  #more = h("small");
  #value = h("span", { class: "numeric-value" }, this.#main, this.#more);

  /**
   * @param {string} name
   * @param {string} unit
   */
  constructor(name, unit) {
    this.name = name;
    const unitText = h("span", { class: "numeric-unit" }, unit);
    const head = h("span", { class: "numeric-head" }, this.#label, unitText);
    const attributes = { class: `numeric numeric-${name}`, "data-testid": `numeric-${name}` };
    this.element = h("div", attributes, head, this.#value);
  }

  /**
   * @param {string} text
   * @param {string} [more] smaller, behind it
   */
  update(text, more = "") {
    setText(this.#label, t(`numeric.${this.name}`));
    setText(this.#main, text);
    setText(this.#more, more);
    setAttribute(this.element, "data-absent", text === ABSENT ? "true" : null);
  }
}

export class Tile {
  #band;
  #bandSlot = h("div", { class: "tile-band" });
  #name = h("h2", { class: "tile-bed" });
  #mode = h("span", { class: "mode", "data-testid": "mode" });
  #device = h("span", { class: "device-state", "data-testid": "device-state" });
  #hr = new Numeric("hr", "/min");
  #spo2 = new Numeric("spo2", "%");
  #abp = new Numeric("abp", "mmHg");
  #rr = new Numeric("rr", "/min");
  #temp = new Numeric("temp", "°C");
  #news2 = new Numeric("news2", "");
  #fresh = h("p", { class: "freshness", "data-testid": "freshness" });
  #canvas = h("canvas", { "aria-hidden": "true" });
  #curveTitle = h("span", { class: "curve-title" });
  #patient = h("p", { class: "tile-patient", "data-testid": "patient" });
  #silences = h("p", { class: "tile-silence", "data-testid": "tile-silence" });
  #drawn = "";

  /**
   * @param {import("../store.js").Store} store
   * @param {import("../strips.js").StripCache} strips
   * @param {(alertId: string) => void} onOpen
   */
  constructor(store, strips, onOpen) {
    this.store = store;
    this.strips = strips;
    this.#band = new AlarmBand(onOpen);
    const head = h("header", { class: "tile-head" }, this.#name, this.#mode, this.#device);
    const parts = [this.#hr, this.#spo2, this.#abp, this.#rr, this.#temp, this.#news2];
    const numerics = h("div", { class: "numerics" }, ...parts.map((part) => part.element));
    const curve = h("div", { class: "tile-curve" }, h("div", { class: "curve-box" }, this.#canvas));
    curve.append(this.#curveTitle);
    const body = h("div", { class: "tile-body" }, head, this.#silences, numerics, this.#fresh, curve, this.#patient);
    this.element = h("article", { class: "tile", "data-testid": "tile" }, this.#bandSlot, body);
    new ResizeObserver(() => {
      this.#drawn = "";
      this.store.changed();
    }).observe(curve);
  }

  /** @param {Ward.Bed} bed */
  update(bed) {
    const nowMs = this.store.nowMs();
    setAttribute(this.element, "data-bed-id", bed.bed_id);
    setAttribute(this.element, "aria-label", bed.bed_id);
    setText(this.#name, bed.bed_id);
    this.#updateAlarm(bed, nowMs);
    this.#updateSilences(bed, nowMs);
    this.#updateDevice(bed);
    this.#updateNumerics(bed);
    this.#updateFreshness(bed);
    this.#updatePatient(bed);
    this.#updateCurve(bed);
  }

  /**
   * @param {Ward.Bed} bed
   * @param {number} nowMs
   */
  #updateAlarm(bed, nowMs) {
    const alerts = this.store.alertsOf(bed.bed_id);
    const first = alerts[0] ?? null;
    markAlert(this.element, first);
    if (!first) return this.#bandSlot.replaceChildren();
    this.#band.update(first, alerts.length - 1, nowMs);
    if (!this.#band.element.isConnected) this.#bandSlot.append(this.#band.element);
  }

  /**
   * @param {Ward.Bed} bed
   * @param {number} nowMs
   */
  #updateSilences(bed, nowMs) {
    const silences = this.store.silencesOf(bed.device_id);
    this.#silences.hidden = silences.length === 0;
    setText(this.#silences, silences.map((silence) => `✕♪ ${silenceText(silence, nowMs)}`).join(" | "));
    const held = silences.every(({ terms }) => terms?.held);
    setAttribute(this.#silences, "data-held", String(held));
  }

  /** @param {Ward.Bed} bed */
  #updateDevice(bed) {
    setText(this.#mode, t(`mode.${bed.generation_mode}`));
    setAttribute(this.#mode, "data-mode", bed.generation_mode);
    setAttribute(this.#mode, "title", t(`mode.${bed.generation_mode}.title`));
    const state = bed.connectivity === "online" && bed.silent ? "silent" : bed.connectivity;
    setText(this.#device, t(`device.${state}`));
    setAttribute(this.#device, "data-state", state);
    setAttribute(this.#device, "title", `${bed.device_id} · ${bed.source}`);
    setAttribute(this.element, "data-state", state);
  }

  /** @param {Ward.Bed} bed */
  #updateNumerics(bed) {
    const { values } = bed.numerics;
    this.#hr.update(number(values["heart_rate_per_min"]));
    this.#spo2.update(number(values["spo2_percent"]));
    const [systolic, diastolic] = [values["abp_systolic_mmhg"], values["abp_diastolic_mmhg"]];
    const mean = values["abp_mean_mmhg"];
    const present = typeof systolic === "number";
    this.#abp.update(
      present ? `${number(systolic)}/${number(diastolic)}` : number(null),
      present ? ` (${number(mean)})` : "",
    );
    this.#rr.update(number(values["respiration_rate_per_min"]));
    this.#temp.update(number(values["temperature_celsius"], 1));
    const patient = bed.patient;
    this.#news2.update(interval(patient?.news2_low ?? null, patient?.news2_high ?? null));
    this.#news2.element.title = t("numeric.news2.title");
    // Coloured by what is certain: the interval is wide where little was measured.
    const least = patient?.news2_low ?? 0;
    setAttribute(this.#news2.element, "data-band", least >= 7 ? "high" : least >= 5 ? "medium" : "low");
  }

  /** @param {Ward.Bed} bed */
  #updateFreshness(bed) {
    const age = this.store.ageSeconds(bed);
    const blind = this.store.link !== "live";
    const stale = blind || age > STALE_AFTER_S;
    setAttribute(this.element, "data-stale", stale ? "true" : "false");
    let text = "";
    if (age === Infinity) text = t("data.none");
    else if (age > STALE_AFTER_S) text = t("data.delayed", { s: Math.floor(age) });
    else if (blind) text = t("data.blind");
    setText(this.#fresh, text);
  }

  /** @param {Ward.Bed} bed */
  #updatePatient(bed) {
    const { patient } = bed;
    const age = patient?.age_years ?? null;
    const parts = patient
      ? [age === null ? "" : t("patient.years", { n: age }), ...patient.problems.map(problem)]
      : [t("patient.none")];
    setText(this.#patient, parts.filter(Boolean).join(" · "));
    setAttribute(this.#patient, "title", this.#patient.textContent);
  }

  /** @param {Ward.Bed} bed */
  #updateCurve(bed) {
    const alert = this.store.alertsOf(bed.bed_id).find(({ has_strip }) => has_strip);
    const strip = alert ? this.strips.peek(alert) : null;
    const points = this.store.trend(bed.bed_id);
    const key = `${language()} ${strip?.alert_id ?? `trend ${points.at(-1)?.timeMs}`}`;
    if (key === this.#drawn) return;
    this.#drawn = key;
    if (strip) drawMiniature(this.#canvas, strip);
    else drawTrend(this.#canvas, points);
    const title = points.length > 1 ? t("trend.title", { n: trendMinutes(points) }) : t("trend.collecting");
    setText(this.#curveTitle, strip ? "" : title);
  }
}
