/**
 * Server-sent events, parsed as the standard says (WHATWG HTML, section 9.2.6). The browser's own
 * EventSource is not used: it cannot resume with a Last-Event-ID after it gave up, and it does not
 * notice a link that is open and silent.
 */

export class EventParser {
  #buffer = "";
  #id;
  #event = "";
  /** @type {string[]} */
  #data = [];

  /** @param {string} lastId */
  constructor(lastId = "") {
    this.#id = lastId;
  }

  /**
   * Events completed by `text`, in order.
   * @param {string} text
   * @returns {Ward.StreamEvent[]}
   */
  push(text) {
    this.#buffer += text;
    const lines = this.#buffer.split(/\r\n|\n|\r(?!$)/);
    this.#buffer = lines.pop() ?? "";
    /** @type {Ward.StreamEvent[]} */
    const events = [];
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) {
          const data = this.#data.join("\n");
          events.push({ id: this.#id, event: this.#event || "message", data });
        }
        this.#event = "";
        this.#data = [];
      } else if (!line.startsWith(":")) this.#field(line);
    }
    return events;
  }

  /** @param {string} line */
  #field(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#event = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
  }
}
