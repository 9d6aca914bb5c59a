/**
 * What the page knows, and when it learned it. Views read it and never keep a copy; every change
 * goes through a method here, and listeners hear of it once a frame.
 */

import { byUrgency, isActive } from "./ordering.js";
import { isDisclosure, isSilence } from "./silences.js";

const NS_PER_MS = 1e6;
const FRAME_LENGTH_MS = 1_000;

/** Older than this, a number is greyed and says so. */
export const STALE_AFTER_S = 3;

export const TREND_SECONDS = 300;
const ENDED_ALERTS_KEPT = 200;

/** @typedef {{timeMs: number, value: number | null}} TrendPoint */

/**
 * @param {{time_ns: number, values: Record<string, number | null>}} second
 * @returns {TrendPoint}
 */
const trendPoint = ({ time_ns, values }) => ({
  timeMs: time_ns / NS_PER_MS,
  value: values["heart_rate_per_min"] ?? null,
});

export class Store {
  /** @type {Ward.Session | null} */
  session = null;
  /** @type {Map<string, Ward.Bed>} */
  beds = new Map();
  /** @type {Map<string, Ward.Alert>} */
  alerts = new Map();
  /** @type {Map<string, Ward.Pending>} */
  pending = new Map();
  /** @type {Ward.LinkState} */
  link = "connecting";
  /** Moment the link was lost, local clock. */
  lostSinceMs = Date.now();
  bedsLoaded = false;
  /** Beds whose trend the store of the server may complete. @type {Set<string>} */
  trendsWithHoles = new Set();

  #clockOffsetMs = 0;
  /** @type {Map<string, number>} */
  #numericsHeardMs = new Map();
  /** @type {Map<string, number>} */
  #alertHeardMs = new Map();
  /** @type {Map<string, TrendPoint[]>} */
  #trends = new Map();
  /** @type {Set<() => void>} */
  #listeners = new Set();
  #announced = false;

  /** @param {() => void} listener */
  subscribe(listener) {
    this.#listeners.add(listener);
  }

  changed() {
    if (this.#announced) return;
    this.#announced = true;
    const announce = () => {
      if (!this.#announced) return;
      this.#announced = false;
      for (const listener of this.#listeners) listener();
    };
    requestAnimationFrame(announce);
    // A hidden tab gets no frames, but its alarms must still sound.
    setTimeout(announce, 100);
  }

  /** Nothing shown is current: the server is gone, or the server cannot hear the beds. */
  get isBlind() {
    return this.link === "lost" || this.link === "deaf";
  }

  /** The server's clock now, in ms. */
  nowMs() {
    return Date.now() + this.#clockOffsetMs;
  }

  /** @param {number} serverTimeNs */
  setServerTime(serverTimeNs) {
    this.#clockOffsetMs = serverTimeNs / NS_PER_MS - Date.now();
  }

  /** @param {Ward.LinkState} link */
  setLink(link) {
    if (link === this.link) return;
    if (this.link === "live" || this.link === "connecting") this.lostSinceMs = Date.now();
    this.link = link;
    this.changed();
  }

  /**
   * Take over a snapshot. An active alert that it does not hold is over, unless the stream spoke of
   * it after the snapshot was asked for.
   * @param {Ward.Bed[]} beds
   * @param {number} askedMs local clock
   */
  setBeds(beds, askedMs) {
    const listed = new Set();
    for (const bed of beds) {
      for (const alert of bed.alerts) {
        listed.add(alert.alert_id);
        this.applyAlert(alert);
      }
      this.#keepNewerNumerics(bed, askedMs);
    }
    // A bed that changed its device is shown with the one heard last.
    const byLastSeen = [...beds].sort((a, b) => a.last_seen_time_ns - b.last_seen_time_ns);
    this.beds = new Map(byLastSeen.map((bed) => [bed.bed_id, bed]));
    for (const [id, alert] of this.alerts)
      if (isActive(alert) && !listed.has(id) && (this.#alertHeardMs.get(id) ?? 0) < askedMs)
        this.alerts.set(id, { ...alert, presence: "off" });
    this.bedsLoaded = true;
    this.changed();
  }

  /**
   * A bed changed; its alerts and numerics travel on their own.
   * @param {Omit<Ward.Bed, "alerts">} news
   */
  applyBed(news) {
    const known = this.beds.get(news.bed_id);
    if (known && known.device_id !== news.device_id && news.connectivity !== "online") return;
    const bed = { ...news, alerts: known?.alerts ?? [] };
    this.#keepNewerNumerics(bed, Date.now());
    this.beds.set(bed.bed_id, bed);
    this.changed();
  }

  /**
   * @param {Ward.Bed} bed
   * @param {number} askedMs
   */
  #keepNewerNumerics(bed, askedMs) {
    const known = this.beds.get(bed.bed_id)?.numerics;
    if (known?.time_ns && known.time_ns >= (bed.numerics.time_ns ?? 0)) bed.numerics = known;
    else if (bed.numerics.age_s !== null)
      this.#numericsHeardMs.set(bed.bed_id, askedMs - bed.numerics.age_s * 1000);
  }

  /**
   * Replays and snapshots may repeat or overtake: only a later entry of the journal counts.
   * @param {Ward.Alert} alert
   * @returns {boolean} whether it was news
   */
  applyAlert(alert) {
    this.#alertHeardMs.set(alert.alert_id, Date.now());
    const known = this.alerts.get(alert.alert_id);
    if (known && known.event_id >= alert.event_id) {
      const same = known.event_id === alert.event_id;
      if (same && (known.has_strip !== alert.has_strip || known.presence !== alert.presence))
        this.alerts.set(alert.alert_id, { ...alert, has_strip: alert.has_strip || known.has_strip });
      return false;
    }
    this.alerts.set(alert.alert_id, alert);
    if (alert.acknowledgement_state !== "none") this.pending.delete(alert.alert_id);
    this.#forgetOldAlerts();
    this.changed();
    return true;
  }

  #forgetOldAlerts() {
    if (this.alerts.size <= ENDED_ALERTS_KEPT * 2) return;
    const ended = [...this.alerts.values()].filter((alert) => !isActive(alert));
    ended.sort((a, b) => a.event_id - b.event_id);
    for (const { alert_id } of ended.slice(0, -ENDED_ALERTS_KEPT)) {
      this.alerts.delete(alert_id);
      this.#alertHeardMs.delete(alert_id);
    }
  }

  /** @param {string} alertId */
  markStrip(alertId) {
    const alert = this.alerts.get(alertId);
    if (alert) this.alerts.set(alertId, { ...alert, has_strip: true });
    this.changed();
  }

  /**
   * @param {Ward.BedNumerics} news
   * @returns {boolean} whether the bed is known
   */
  applyNumerics(news) {
    const bed = this.beds.get(news.bed_id);
    if (!bed) return false;
    if (news.time_ns < (bed.numerics.time_ns ?? 0)) return true;
    this.#numericsHeardMs.set(news.bed_id, Date.now());
    bed.numerics = { time_ns: news.time_ns, age_s: 0, values: news.values };
    if (bed.patient && "news2_low" in news) {
      bed.patient.news2_low = news.news2_low ?? null;
      bed.patient.news2_high = news.news2_high ?? null;
    }
    this.#extendTrend(news);
    this.changed();
    return true;
  }

  /** @param {Ward.BedNumerics} news */
  #extendTrend(news) {
    const points = this.#trends.get(news.bed_id) ?? [];
    const point = trendPoint(news);
    const lastMs = points.at(-1)?.timeMs ?? point.timeMs - FRAME_LENGTH_MS;
    if (point.timeMs <= lastMs) return;
    if (point.timeMs > lastMs + FRAME_LENGTH_MS * 1.5) this.trendsWithHoles.add(news.bed_id);
    points.push(point);
    while (points[0] && points[0].timeMs < point.timeMs - TREND_SECONDS * 1000) points.shift();
    this.#trends.set(news.bed_id, points);
  }

  /**
   * What was stored before this page was opened, or while it missed something.
   * @param {string} bedId
   * @param {{time_ns: number, values: Record<string, number | null>}[]} frames
   */
  startTrend(bedId, frames) {
    const heard = this.#trends.get(bedId) ?? [];
    const bySecond = new Map([...frames.map(trendPoint), ...heard].map((point) => [point.timeMs, point]));
    const points = [...bySecond.values()].sort((a, b) => a.timeMs - b.timeMs);
    const oldest = (points.at(-1)?.timeMs ?? 0) - TREND_SECONDS * 1000;
    this.#trends.set(bedId, points.filter(({ timeMs }) => timeMs >= oldest));
    this.changed();
  }

  /**
   * Heart rate of the last minutes.
   * @param {string} bedId
   */
  trend(bedId) {
    return this.#trends.get(bedId) ?? [];
  }

  /**
   * Seconds since the bed's newest second ended, or since it reached this page if that is longer
   * ago. Infinity before the first.
   * @param {Ward.Bed} bed
   */
  ageSeconds(bed) {
    const heardMs = this.#numericsHeardMs.get(bed.bed_id);
    if (bed.numerics.time_ns === null || heardMs === undefined) return Infinity;
    const measuredMs = bed.numerics.time_ns / NS_PER_MS + FRAME_LENGTH_MS;
    return Math.max(Date.now() - heardMs, this.nowMs() - measuredMs, 0) / 1000;
  }

  /** Every active alert, the most urgent first. */
  activeAlerts() {
    const active = [...this.alerts.values()].filter(isActive);
    return active.filter((alert) => !isDisclosure(alert)).sort(byUrgency);
  }

  /** Every silence that holds, or would if its station were heard. */
  silences() {
    return [...this.alerts.values()].filter((alert) => isActive(alert) && isSilence(alert));
  }

  /** @param {string} deviceId */
  silencesOf(deviceId) {
    return this.silences().filter((silence) => silence.device_id === deviceId);
  }

  /** @param {string} bedId */
  alertsOf(bedId) {
    return this.activeAlerts().filter((alert) => alert.bed_id === bedId);
  }

  /**
   * @param {string} alertId
   * @param {Ward.Pending | null} pending
   */
  setPending(alertId, pending) {
    if (pending) this.pending.set(alertId, pending);
    else this.pending.delete(alertId);
    this.changed();
  }

  /** @param {...string} roles */
  hasRole(...roles) {
    return roles.some((role) => this.session?.roles.includes(role) ?? false);
  }
}
