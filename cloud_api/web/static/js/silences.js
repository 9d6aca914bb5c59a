/**
 * Silences of beds, and the proof that this station lives: twice a second, while it silences one.
 * A page that hangs, is closed or loses the server stops proving it, and the bed sounds.
 */

import { api } from "./api.js";

const RENEW_EVERY_MS = 500;
const KEY = "wardstream.station";
const SILENCES = new Set(["audio_paused", "audio_off", "alarm_paused", "alarm_off"]);

/** What people ordered is told like an alert, but it calls for nobody. @param {{condition: string}} alert */
export const isDisclosure = (alert) => isSilence(alert) || alert.condition === "patient_limits";

/** @param {{condition: string}} alert */
export const isSilence = (alert) => SILENCES.has(alert.condition);

/** Id of this tab, the same over a reload: a silence given before it is still this station's. */
export function stationId() {
  let id = sessionStorage.getItem(KEY);
  if (!id) sessionStorage.setItem(KEY, (id = newId()));
  return id;
}

/** Version 4; `crypto.randomUUID` exists only where the page came over TLS or from loopback. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [8, 12, 16, 20].reduceRight((text, at) => `${text.slice(0, at)}-${text.slice(at)}`, hex);
}

/**
 * Alerts of a bed as this page shows them: a bed that has another of high priority refuses.
 * @param {import("./store.js").Store} store
 * @param {string} deviceId
 */
function seenOf(store, deviceId) {
  const alerts = store.activeAlerts().filter(({ device_id }) => device_id === deviceId);
  return Object.fromEntries(alerts.map(({ alert_id, revision }) => [alert_id, revision]));
}

/** Keeps the silences of this station alive. */
export class StationPulse {
  #timer = 0;
  #asking = false;
  #askUntilMs = 0;

  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
  }

  start() {
    this.#timer = window.setInterval(() => void this.#beat(), RENEW_EVERY_MS);
  }

  stop() {
    clearInterval(this.#timer);
  }

  /**
   * @param {string} deviceId
   * @param {Ward.SilenceWish} wish
   */
  async order(deviceId, wish) {
    this.#askUntilMs = Date.now() + 10_000; // until the bed has told of it
    await api.silence(deviceId, {
      ...wish,
      station_id: stationId(),
      seen: seenOf(this.store, deviceId),
    });
    void this.#beat();
  }

  /** @param {string} silenceId */
  end(silenceId) {
    return api.endSilence(silenceId, stationId());
  }

  async #beat() {
    const me = this.store.session?.username;
    const mine = this.store
      .silences()
      .some(({ terms }) => terms?.station_id === stationId() && terms.author === me);
    if (this.#asking || (!mine && Date.now() > this.#askUntilMs)) return;
    this.#asking = true;
    await api.renew(stationId()).catch(() => {}); // the next beat is the retry; the bed sounds meanwhile
    this.#asking = false;
  }
}
