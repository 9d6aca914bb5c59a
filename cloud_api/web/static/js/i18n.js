/** Two languages; what a dictionary lacks is shown in English, never left blank. */

import { en } from "./lang/en.js";
import { zh } from "./lang/zh.js";

/** @type {Record<string, Record<string, string>>} */
const DICTIONARIES = { en, zh };
const KEY = "wardstream.language";

let current = localStorage.getItem(KEY) ?? (navigator.language.startsWith("zh") ? "zh" : "en");
if (!(current in DICTIONARIES)) current = "en";
document.documentElement.lang = current;

export const language = () => current;

/** The other language, for the switch. */
export const otherLanguage = () => (current === "en" ? "zh" : "en");

/** @param {string} chosen */
export function setLanguage(chosen) {
  current = chosen in DICTIONARIES ? chosen : "en";
  localStorage.setItem(KEY, current);
  document.documentElement.lang = current;
}

/**
 * Text for `key`; `{name}` in it is replaced.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  const text = DICTIONARIES[current]?.[key] ?? en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/**
 * Name of an alert's condition; English is what the server says.
 * @param {{condition: string, label: string}} alert
 */
export function conditionLabel(alert) {
  return (current === "en" ? "" : DICTIONARIES[current]?.[`condition.${alert.condition}`]) || alert.label;
}
