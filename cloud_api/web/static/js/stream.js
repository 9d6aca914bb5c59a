/** The live link to the server: reads events, notices silence, comes back where it stopped. */

import { EventParser } from "./sse.js";

/** The server says something at least every 5 s; twice nothing is a dead link. */
export const SILENCE_LIMIT_MS = 8_000;
const RETRY_MS = [250, 500, 1_000, 2_000, 4_000];

export class LiveStream {
  #lastId = "";
  #attempt = 0;
  #stopped = false;
  /** @type {AbortController | null} */
  #request = null;
  #heardMs = 0;

  /**
   * @param {object} listeners
   * @param {(event: Ward.StreamEvent) => void} listeners.onEvent
   * @param {(state: "live" | "lost") => void} listeners.onState
   * @param {() => void} listeners.onJoined from here on every journal entry arrives
   * @param {() => void} listeners.onSignedOut
   */
  constructor(listeners) {
    this.listeners = listeners;
  }

  /** Connect, and stay connected until `stop`. */
  async run() {
    while (!this.#stopped) {
      await this.#connectOnce();
      if (this.#stopped) return;
      this.listeners.onState("lost");
      await pause(this.#delayMs());
    }
  }

  stop() {
    this.#stopped = true;
    this.#request?.abort();
  }

  /** A laptop that slept finds out here, before it shows an old number as new. */
  checkSilence() {
    if (this.#request && Date.now() - this.#heardMs > SILENCE_LIMIT_MS) this.#request.abort();
  }

  #delayMs() {
    const longest = RETRY_MS[Math.min(this.#attempt++, RETRY_MS.length - 1)] ?? 4_000;
    return longest * (0.5 + Math.random() / 2);
  }

  async #connectOnce() {
    const request = new AbortController();
    this.#request = request;
    this.#heardMs = Date.now();
    try {
      /** @type {Record<string, string>} */
      const headers = { Accept: "text/event-stream" };
      if (this.#lastId) headers["Last-Event-ID"] = this.#lastId;
      const options = { headers, signal: request.signal, cache: /** @type {const} */ ("no-store") };
      const response = await fetch("/api/stream", options);
      if (response.status === 401 || response.status === 403) {
        this.#stopped = true;
        this.listeners.onSignedOut();
      } else if (response.ok && response.body) await this.#read(response.body);
    } catch {
      // Cut, refused or too long silent: the caller tries again.
    } finally {
      this.#request = null;
      request.abort();
    }
  }

  /** @param {ReadableStream<Uint8Array>} body */
  async #read(body) {
    const parser = new EventParser(this.#lastId);
    const decoder = new TextDecoder();
    const reader = body.getReader();
    let live = false;
    for (;;) {
      const { done, value } = await reader.read();
      if (done || this.#stopped) return;
      this.#heardMs = Date.now();
      if (!live) {
        live = true;
        this.#attempt = 0;
        this.listeners.onState("live");
      }
      for (const event of parser.push(decoder.decode(value, { stream: true }))) {
        this.listeners.onEvent(event);
        const joined = this.#lastId === "" && event.id !== "";
        this.#lastId = event.id;
        if (joined) this.listeners.onJoined();
      }
    }
  }
}

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
