/** Every alarm that was, with filters. */

import { reasonFor } from "../actions.js";
import { api } from "../api.js";
import { fill, h, setText } from "../dom.js";
import { duration, moment } from "../format.js";
import { conditionLabel, t } from "../i18n.js";
import { isActive, MARK, PRIORITIES } from "../ordering.js";
import { lastingSeconds } from "./alarm_band.js";
import { judgedBy } from "./alarm_card.js";
import { table } from "./table.js";

const LIMIT = 300;

export class HistoryView {
  /** @type {Ward.Alert[]} */
  #alerts = [];
  #problem = "";
  #bed = this.#select("bed");
  #priority = this.#select("priority");
  #condition = this.#select("condition");
  #active = h("input", { type: "checkbox", id: "filter-active", onchange: () => this.render() });
  #list = h("div", { class: "list", "data-testid": "history" });
  #count = h("p", { class: "hint", role: "status" });

  /**
   * @param {import("../store.js").Store} store
   * @param {(alertId: string) => void} onOpen
   */
  constructor(store, onOpen) {
    this.store = store;
    this.onOpen = onOpen;
    this.filters = h("form", { class: "filters", onsubmit: (event) => event.preventDefault() });
    this.title = h("h1");
    this.element = h("section", { class: "page" }, this.title, this.filters, this.#count, this.#list);
  }

  /** @param {string} name */
  #select(name) {
    return h("select", { id: `filter-${name}`, "data-testid": `filter-${name}`, onchange: () => this.render() });
  }

  async show() {
    this.#labelFilters();
    try {
      this.#alerts = await api.alerts({ limit: LIMIT });
      this.#problem = "";
    } catch (error) {
      this.#problem = reasonFor(error);
    }
    this.#fillFilters();
    this.render();
  }

  #labelFilters() {
    setText(this.title, t("history.title"));
    /** @param {string} name @param {HTMLElement} control */
    const field = (name, control) =>
      h("div", { class: "field" }, h("label", { for: control.id }, t(`history.${name}`)), control);
    const refresh = h("button", { type: "button", class: "quiet-button", onclick: () => this.show() });
    refresh.append(t("history.refresh"));
    const only = h("label", { class: "check", for: "filter-active" }, this.#active, t("history.activeOnly"));
    fill(this.filters, field("bed", this.#bed), field("priority", this.#priority));
    this.filters.append(field("condition", this.#condition), only, refresh);
  }

  #fillFilters() {
    const beds = [...new Set(this.#alerts.map(({ bed_id }) => bed_id))].sort();
    options(this.#bed, beds.map((bed) => [bed, bed]));
    options(this.#priority, PRIORITIES.map((priority) => [priority, t(`priority.${priority}`)]));
    const conditions = new Map(this.#alerts.map((alert) => [alert.condition, conditionLabel(alert)]));
    options(this.#condition, [...conditions].sort((a, b) => a[1].localeCompare(b[1])));
  }

  render() {
    if (this.#problem) return fill(this.#list, h("p", { class: "problem" }, t("operations.failed", { why: this.#problem })));
    const rows = this.#alerts.map((alert) => this.store.alerts.get(alert.alert_id) ?? alert);
    const shown = rows.filter((alert) => this.#matches(alert));
    setText(this.#count, t("history.shown", { n: shown.length }));
    const columns = ["onset", "bed", "priority", "condition", "state", "by", "version"];
    const content = table(
      t("history.title"),
      columns.map((name) => t(`history.${name}`)),
      shown.map((alert) => ({ cells: this.#cells(alert), attributes: rowAttributes(alert) })),
      t("history.none"),
    );
    fill(this.#list, content);
  }

  /** @param {Ward.Alert} alert */
  #matches(alert) {
    return (
      (!this.#bed.value || alert.bed_id === this.#bed.value) &&
      (!this.#priority.value || alert.priority === this.#priority.value) &&
      (!this.#condition.value || alert.condition === this.#condition.value) &&
      (!this.#active.checked || isActive(alert))
    );
  }

  /** @param {Ward.Alert} alert */
  #cells(alert) {
    const open = () => this.onOpen(alert.alert_id);
    const link = h("button", { type: "button", class: "link", onclick: open }, conditionLabel(alert));
    const mark = h("span", { class: "pill", "data-priority": alert.priority });
    mark.append(`${MARK[alert.priority]} ${t(`priority.${alert.priority}`)}`);
    const lasting = duration(lastingSeconds(alert, this.store.nowMs()));
    return [
      moment(alert.onset_time_ns),
      alert.bed_id,
      mark,
      link,
      `${t(alert.presence === "latch" ? "presence.latch.short" : `presence.${alert.presence}`)} · ${lasting}`,
      alert.acknowledged_by ?? "",
      judgedBy(alert),
    ];
  }
}

/** @param {Ward.Alert} alert */
const rowAttributes = (alert) => ({
  "data-alert-id": alert.alert_id,
  "data-priority": alert.priority,
  "data-presence": alert.presence,
});

/**
 * @param {HTMLSelectElement} select
 * @param {[string, string][]} choices
 */
function options(select, choices) {
  const chosen = select.value;
  fill(select, h("option", { value: "" }, t("history.all")));
  for (const [value, label] of choices) select.append(h("option", { value }, label));
  select.value = choices.some(([value]) => value === chosen) ? chosen : "";
}
