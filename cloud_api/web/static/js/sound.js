/**
 * Alarm sounds of this station, in the manner of IEC 60601-1-8: high is ten pulses, medium three.
 * Browsers forbid sound before a click, so it starts silent and says so.
 */

import { isUnanswered } from "./ordering.js";

/** @typedef {"high" | "medium" | "blind"} Melody */

const PULSE_S = 0.15;
const C4 = 261.63;
const NOTE = { c: C4, e: C4 * 1.26, g: C4 * 1.498, C: C4 * 2 };

/** Onsets in s and notes. @type {Record<Melody, [number, number][]>} */
const MELODIES = {
  high: [0, 1.35].flatMap((start) =>
    /** @type {[number, number][]} */ ([
      [start, NOTE.c], [start + 0.2, NOTE.e], [start + 0.4, NOTE.g],
      [start + 0.8, NOTE.g], [start + 1.0, NOTE.C],
    ]),
  ),
  medium: [[0, NOTE.c], [0.25, NOTE.e], [0.5, NOTE.g]],
  blind: [[0, NOTE.g], [0.35, NOTE.c]],
}; // prettier-ignore

/** @type {Record<Melody, number>} */
const EVERY_MS = { high: 6_000, medium: 12_000, blind: 15_000 };

export class AlarmSound {
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {Melody | null} */
  #melody = null;
  #lastStartMs = 0;
  wanted = false;

  /** Whether the station can be heard now. */
  get audible() {
    return this.wanted && this.#context?.state === "running";
  }

  /** What sounds now, for the page and its tests. */
  get melody() {
    return this.audible ? this.#melody : null;
  }

  /** Called from a click: only then may a browser start to sound. @param {boolean} on */
  async setWanted(on) {
    this.wanted = on;
    if (on) {
      this.#context ??= new AudioContext();
      await this.#context.resume();
    } else await this.#context?.suspend();
    this.#lastStartMs = 0;
  }

  /**
   * Choose what to play; to be called often.
   * @param {Iterable<Ward.Alert>} alerts
   * @param {boolean} blind the link is lost
   */
  update(alerts, blind) {
    // What a person silenced at the bed is silent here too; it shows on.
    const calling = [...alerts].filter((alert) => isUnanswered(alert) && alert.audible !== "paused" && alert.audible !== "off");
    const previous = this.#melody;
    if (calling.some(({ priority }) => priority === "high")) this.#melody = "high";
    else if (blind) this.#melody = "blind";
    else this.#melody = calling.some(({ priority }) => priority === "medium") ? "medium" : null;
    if (!this.audible || !this.#melody) return;
    const due = Date.now() - this.#lastStartMs >= EVERY_MS[this.#melody];
    if (due || this.#melody !== previous) this.#play(this.#melody);
  }

  /** @param {Melody} melody */
  #play(melody) {
    const context = this.#context;
    if (!context) return;
    this.#lastStartMs = Date.now();
    for (const [offsetS, frequencyHz] of MELODIES[melody])
      pulse(context, context.currentTime + 0.02 + offsetS, frequencyHz);
  }
}

/**
 * One pulse with four harmonics, so that it can be located in a room.
 * @param {AudioContext} context
 * @param {number} startS
 * @param {number} frequencyHz
 */
function pulse(context, startS, frequencyHz) {
  const gain = context.createGain();
  gain.gain.setValueAtTime(0, startS);
  gain.gain.linearRampToValueAtTime(0.16, startS + 0.02);
  gain.gain.setValueAtTime(0.16, startS + PULSE_S - 0.03);
  gain.gain.linearRampToValueAtTime(0, startS + PULSE_S);
  gain.connect(context.destination);
  for (const harmonic of [1, 2, 3, 4]) {
    const oscillator = context.createOscillator();
    const share = context.createGain();
    share.gain.value = 1 / harmonic;
    oscillator.frequency.value = frequencyHz * harmonic;
    oscillator.connect(share).connect(gain);
    oscillator.start(startS);
    oscillator.stop(startS + PULSE_S);
  }
}
