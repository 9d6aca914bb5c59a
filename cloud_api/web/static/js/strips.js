/** Strips already fetched: a strip never changes, so it is asked for once. */

import { api } from "./api.js";

const KEPT = 64;
const RETRY_MS = 2_000;

export class StripCache {
  /** @type {Map<string, Ward.Strip>} */
  #strips = new Map();
  /** @type {Map<string, Promise<Ward.Strip | null>>} */
  #asked = new Map();

  /** @param {() => void} onLoaded */
  constructor(onLoaded) {
    this.onLoaded = onLoaded;
  }

  /**
   * The strip if it is here; if not, it is sent for and `onLoaded` is called when it came.
   * @param {Ward.Alert} alert
   */
  peek(alert) {
    const strip = this.#strips.get(alert.alert_id);
    if (!strip && alert.has_strip && !this.#asked.has(alert.alert_id))
      this.load(alert.alert_id).then(this.onLoaded, () => {});
    return strip ?? null;
  }

  /**
   * @param {string} alertId
   * @returns {Promise<Ward.Strip | null>} null while the bed has sent none
   */
  load(alertId) {
    const strip = this.#strips.get(alertId);
    if (strip) return Promise.resolve(strip);
    let asked = this.#asked.get(alertId);
    if (!asked) {
      asked = this.#fetch(alertId);
      this.#asked.set(alertId, asked);
    }
    return asked;
  }

  /** @param {string} alertId */
  async #fetch(alertId) {
    try {
      const strip = await api.strip(alertId);
      if (strip) {
        this.#strips.set(alertId, strip);
        const oldest = this.#strips.keys().next().value;
        if (this.#strips.size > KEPT && oldest) this.#strips.delete(oldest);
        this.#asked.delete(alertId);
      } else setTimeout(() => this.#asked.delete(alertId), RETRY_MS);
      return strip;
    } catch (error) {
      setTimeout(() => this.#asked.delete(alertId), RETRY_MS);
      throw error;
    }
  }

  /** The server says there is one now. @param {string} alertId */
  invalidate(alertId) {
    this.#asked.delete(alertId);
  }
}
