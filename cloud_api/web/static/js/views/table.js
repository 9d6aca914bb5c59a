/** A plain table with a caption for screen readers and a line for when there is nothing. */

import { h } from "../dom.js";

/** @typedef {Node | string} Cell */

/**
 * @param {string} caption
 * @param {string[]} columns
 * @param {{cells: Cell[], attributes?: Record<string, string | ((event: Event) => void)>}[]} rows
 * @param {string} empty
 */
export function table(caption, columns, rows, empty) {
  const head = h("tr", {}, ...columns.map((column) => h("th", { scope: "col" }, column)));
  const lines = rows.map(({ cells, attributes }) =>
    h("tr", attributes ?? {}, ...cells.map((cell) => h("td", {}, cell))),
  );
  if (!lines.length) {
    const cell = h("td", { colspan: columns.length, class: "empty" }, empty);
    lines.push(h("tr", {}, cell));
  }
  const title = h("caption", { class: "visually-hidden" }, caption);
  const whole = h("table", {}, title, h("thead", {}, head), h("tbody", {}, ...lines));
  return h("div", { class: "table-box", tabindex: "0", role: "group", "aria-label": caption }, whole);
}
