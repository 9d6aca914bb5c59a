/** The central station: a tile for each bed, and every active alarm beside them. */

import { acknowledge } from "../actions.js";
import { arrange, h, setAttribute, setText } from "../dom.js";
import { t } from "../i18n.js";
import { byBed } from "../ordering.js";
import { AlarmCard } from "./alarm_card.js";
import { Tile } from "./tile.js";

const SMALLEST_TILE = { width: 152, height: 146 };
const ONE_COLUMN_BELOW_PX = 560;
const WIDE_BY_HIGH = 1.5;
const ANSWERED_SHOWN_MS = 15_000;

/**
 * The number of columns that makes tiles largest for the room there is.
 * @param {number} nBeds
 * @param {number} width
 * @param {number} height
 */
export function columnsFor(nBeds, width, height) {
  if (width < ONE_COLUMN_BELOW_PX) return 1;
  let best = { columns: 1, size: 0 };
  for (let columns = 1; columns <= nBeds; columns += 1) {
    const tileWidth = width / columns;
    if (columns > 1 && tileWidth < SMALLEST_TILE.width) break;
    const tileHeight = Math.max(height / Math.ceil(nBeds / columns), SMALLEST_TILE.height);
    const overflow = Math.max(1, (tileHeight * Math.ceil(nBeds / columns)) / height);
    const size = Math.min(tileWidth / WIDE_BY_HIGH, tileHeight) / overflow ** 2;
    if (size > best.size) best = { columns, size };
  }
  return best.columns;
}

export class StationView {
  /** @type {Map<string, Tile>} */
  #tiles = new Map();
  /** @type {Map<string, AlarmCard>} */
  #cards = new Map();
  #grid = h("div", { class: "grid", "data-testid": "grid" });
  #empty = h("p", { class: "empty" });
  #railTitle = h("h1", { class: "rail-title" });
  #cardsList = h("div", { class: "cards", "data-testid": "alarm-list" });
  #quiet = h("p", { class: "quiet" });

  /**
   * @param {import("../store.js").Store} store
   * @param {import("../strips.js").StripCache} strips
   * @param {(alertId: string) => void} onOpen
   */
  constructor(store, strips, onOpen) {
    this.store = store;
    this.strips = strips;
    this.onOpen = onOpen;
    const rail = h("aside", { class: "rail", "aria-labelledby": "rail-title" });
    this.#railTitle.id = "rail-title";
    rail.append(this.#railTitle, this.#quiet, this.#cardsList);
    const beds = h("section", { class: "beds", id: "beds", tabindex: "-1" }, this.#empty, this.#grid);
    this.element = h("div", { class: "station" }, beds, rail);
    new ResizeObserver(() => this.#setColumns()).observe(beds);
  }

  render() {
    this.#renderTiles();
    this.#renderRail();
  }

  #renderTiles() {
    const beds = [...this.store.beds.values()].sort(byBed);
    setText(this.#empty, this.store.bedsLoaded ? t("station.empty") : t("link.loading"));
    this.#empty.hidden = beds.length > 0;
    const elements = beds.map((bed) => {
      let tile = this.#tiles.get(bed.bed_id);
      if (!tile) this.#tiles.set(bed.bed_id, (tile = new Tile(this.store, this.strips, this.onOpen)));
      tile.update(bed);
      return tile.element;
    });
    for (const id of this.#tiles.keys()) if (!this.store.beds.has(id)) this.#tiles.delete(id);
    const changed = elements.length !== this.#grid.children.length;
    arrange(this.#grid, elements);
    if (changed) this.#setColumns();
  }

  #setColumns() {
    const room = this.#grid.parentElement?.getBoundingClientRect();
    if (!room || !this.store.beds.size) return;
    const columns = columnsFor(this.store.beds.size, room.width, room.height);
    this.#grid.style.setProperty("--columns", String(columns));
  }

  #renderRail() {
    const nowMs = this.store.nowMs();
    const alerts = [...this.store.activeAlerts(), ...this.#justAnswered(nowMs)];
    setText(this.#railTitle, t("station.alarms"));
    const blind = this.store.link !== "live";
    setText(this.#quiet, blind ? t("station.blind") : `${t("station.quiet")}. ${t("station.quiet.note")}`);
    setAttribute(this.#quiet, "data-blind", blind ? "true" : null);
    this.#quiet.hidden = alerts.length > 0;
    const elements = alerts.map((alert) => {
      let card = this.#cards.get(alert.alert_id);
      if (!card) {
        card = new AlarmCard(this.onOpen, (id) => acknowledge(this.store, id));
        this.#cards.set(alert.alert_id, card);
      }
      card.update(alert, this.store, nowMs);
      return card.element;
    });
    const shown = new Set(alerts.map(({ alert_id }) => alert_id));
    for (const id of this.#cards.keys()) if (!shown.has(id)) this.#cards.delete(id);
    arrange(this.#cardsList, elements);
  }

  /** Answered and over: shown a little longer, so that who answered sees it arrive. @param {number} nowMs */
  #justAnswered(nowMs) {
    return [...this.store.alerts.values()].filter(
      (alert) =>
        alert.presence === "off" &&
        alert.acknowledged_by !== null &&
        nowMs - alert.stored_time_ns / 1e6 < ANSWERED_SHOWN_MS,
    );
  }
}
