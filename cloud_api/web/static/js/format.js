/** Values as people read them. */

import { language } from "./i18n.js";

const NS_PER_MS = 1e6;
export const ABSENT = "––";

/**
 * @param {number | null | undefined} value
 * @param {number} [digits]
 */
export function number(value, digits = 0) {
  return value === null || value === undefined || !Number.isFinite(value)
    ? ABSENT
    : value.toFixed(digits);
}

/** Local time of day. @param {number | null | undefined} timeNs */
export function clock(timeNs) {
  if (!timeNs) return ABSENT;
  return new Date(timeNs / NS_PER_MS).toLocaleTimeString("en-GB", { hour12: false });
}

/** Day and time, for lists. @param {number | null | undefined} timeNs */
export function moment(timeNs) {
  if (!timeNs) return ABSENT;
  const date = new Date(timeNs / NS_PER_MS);
  const day = date.toLocaleDateString(language() === "zh" ? "zh-CN" : "en-GB", {
    month: "short",
    day: "2-digit",
  });
  return `${day} ${clock(timeNs)}`;
}

/** "0:07", "12:31", "2 h 05". @param {number} seconds */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${String(whole % 60).padStart(2, "0")}`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")}`;
}

/**
 * "3–7" for an interval, "5" where both ends meet.
 * @param {number | null} low
 * @param {number | null} high
 */
export function interval(low, high) {
  if (low === null || high === null) return ABSENT;
  return low === high ? String(low) : `${low}–${high}`;
}

/** `silence_s: 4.2` reads "silence 4.2 s". @type {Record<string, string>} */
const UNIT_OF_SUFFIX = {
  per_min: "/min", percent: "%", mmhg: "mmHg", celsius: "°C", ms: "ms", s: "s", mv: "mV", hz: "Hz",
}; // prettier-ignore

/**
 * @param {string} name feature or evidence with its unit suffix
 * @param {number} value
 */
export function evidence(name, value) {
  const digits = Number.isInteger(value) ? 0 : Math.abs(value) < 10 ? 2 : 1;
  for (const [suffix, unit] of Object.entries(UNIT_OF_SUFFIX))
    if (name.endsWith(`_${suffix}`)) {
      const what = name.slice(0, -suffix.length - 1).replaceAll("_", " ");
      return { what, value: `${value.toFixed(digits)} ${unit}` };
    }
  return { what: name.replaceAll("_", " ").replace(/^n /, ""), value: value.toFixed(digits) };
}

/** A problem without its SNOMED semantic tag, "Anemia (disorder)". @param {string} name */
export const problem = (name) => name.replace(/ \((disorder|finding|situation|procedure|event)\)$/, "");

/** UCUM as printed. @type {Record<string, string>} */
const PRINTED_UNIT = { "mm[Hg]": "mmHg", "[arb'U]": "a.u.", Cel: "°C", "1": "" };

/** @param {string} ucum */
export const unit = (ucum) => PRINTED_UNIT[ucum] ?? ucum;
