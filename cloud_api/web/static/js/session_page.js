/** The page of someone signed in: keeps the store fed and the views drawn. */

import { announce } from "./announce.js";
import { api, ApiError } from "./api.js";
import { fill, h, mustFind, setText } from "./dom.js";
import { duration } from "./format.js";
import { t } from "./i18n.js";
import { StationPulse } from "./silences.js";
import { isUnanswered } from "./ordering.js";
import { AlarmSound } from "./sound.js";
import { Store, TREND_SECONDS } from "./store.js";
import { LiveStream } from "./stream.js";
import { StripCache } from "./strips.js";
import { AlertDialog } from "./views/detail.js";
import { Header } from "./views/header.js";
import { HistoryView } from "./views/history.js";
import { OperationsView } from "./views/operations.js";
import { StationView } from "./views/station.js";

const TICK_MS = 500;
const BEDS_EVERY_MS = 10_000;
const BEDS_AT_MOST_EVERY_MS = 1_000;

export class SessionPage {
  #store = new Store();
  #sound = new AlarmSound();
  #strips = new StripCache(() => this.#store.changed());
  #pulse = new StationPulse(this.#store);
  #dialog = new AlertDialog(this.#store, this.#strips, this.#pulse);
  #station = new StationView(this.#store, this.#strips, (id) => this.#dialog.open(id));
  #history = new HistoryView(this.#store, (id) => this.#dialog.open(id));
  #operations = new OperationsView(this.#store);
  #main = h("main", { class: "main" });
  #header;
  #stream;
  #leaving = new AbortController();
  #bedsAskedMs = 0;
  #bedsTimer = 0;
  /** @type {Set<string>} */
  #trendsLoaded = new Set();
  /** @type {import("./views/header.js").ViewName} */
  #current = "station";

  /**
   * @param {Ward.Session} session
   * @param {(ended: boolean) => void} onEnd `ended` if it was not the user's wish
   */
  constructor(session, onEnd) {
    this.#store.session = session;
    this.onEnd = onEnd;
    this.#header = new Header(this.#store, this.#sound, {
      onLanguage: () => this.#route(),
      onSignOut: () => this.#signOut(),
    });
    this.#stream = new LiveStream({
      onEvent: (event) => this.#onEvent(event),
      onState: (state) => this.#onLink(state),
      onJoined: () => this.#askBeds(),
      onSignedOut: () => this.#leave(true),
    });
    this.element = h("div", { class: "session" }, this.#header.element, this.#main, this.#dialog.element);
  }

  start() {
    const { signal } = this.#leaving;
    this.#store.subscribe(() => this.#render());
    window.addEventListener("hashchange", () => this.#route(), { signal });
    document.addEventListener("visibilitychange", () => this.#tick(), { signal });
    const timer = setInterval(() => this.#tick(), TICK_MS);
    signal.addEventListener("abort", () => clearInterval(timer));
    this.#pulse.start();
    signal.addEventListener("abort", () => this.#pulse.stop());
    this.#route();
    void this.#stream.run();
  }

  #tick() {
    this.#stream.checkSilence();
    if (Date.now() - this.#bedsAskedMs > BEDS_EVERY_MS) this.#askBeds();
    this.#render();
  }

  #route() {
    const address = location.hash;
    const alarm = /^#\/alarm\/([0-9a-f-]+)$/.exec(address);
    if (address.startsWith("#/operations")) this.#current = "operations";
    else this.#current = address.startsWith("#/alarms") ? "history" : "station";
    const view = { station: this.#station, history: this.#history, operations: this.#operations }[this.#current];
    if (this.#main.firstElementChild !== view.element) fill(this.#main, view.element);
    if ("show" in view) void view.show();
    if (alarm?.[1]) this.#dialog.open(alarm[1]);
    this.#render();
  }

  #render() {
    if (this.#leaving.signal.aborted) return;
    this.#sound.update(this.#store.activeAlerts(), this.#store.isBlind);
    this.#header.render(this.#current);
    if (this.#current === "station") this.#station.render();
    this.#dialog.render();
    renderLink(this.#store);
  }

  /** @param {"live" | "lost"} state */
  #onLink(state) {
    this.#store.setLink(state);
    if (state === "live") this.#askBeds();
  }

  /** @param {Ward.StreamEvent} event */
  #onEvent(event) {
    const message = JSON.parse(event.data);
    if (event.event === "alert") this.#onAlert(message);
    else if (event.event === "strip") this.#onStrip(message.alert_id);
    else if (event.event === "numerics") this.#onNumerics(message);
    else if (event.event === "device") this.#store.applyBed(message);
    else if (event.event === "heartbeat") this.#onHeartbeat(message);
  }

  /** @param {Ward.Alert} alert */
  #onAlert(alert) {
    if (!this.#store.applyAlert(alert)) return;
    announce(alert);
    this.#confirmCall(alert);
    if (!this.#store.beds.has(alert.bed_id)) this.#askBedsSoon();
  }

  /** A call that this station shows to whom it is meant for has arrived. @param {Ward.Alert} alert */
  #confirmCall(alert) {
    const calls = isUnanswered(alert) && alert.priority === "high" && alert.kind === "physiological";
    if (!calls || document.hidden) return;
    const begins = alert.transition === "onset" || alert.transition === "reactivated";
    // The alert itself is the first call, to the nurse.
    const call = alert.escalation ?? (begins ? { level: 0, role: "nurse", delivered_to: null } : null);
    if (!call || call.delivered_to) return;
    const meant = call.role === "physician" ? "physician" : "nurse";
    if (this.#store.hasRole(meant)) void api.shown(alert.alert_id, call.level).catch(() => {});
  }

  /** @param {string} alertId */
  #onStrip(alertId) {
    this.#strips.invalidate(alertId);
    this.#store.markStrip(alertId);
    this.#dialog.onStrip(alertId);
  }

  /** @param {Ward.BedNumerics[]} beds */
  #onNumerics(beds) {
    const known = beds.map((bed) => this.#store.applyNumerics(bed));
    if (known.includes(false)) this.#askBedsSoon();
  }

  /** @param {Ward.Heartbeat} beat */
  #onHeartbeat(beat) {
    this.#store.setServerTime(beat.time_ns);
    this.#store.setLink(beat.broker === "up" && beat.store === "up" ? "live" : "deaf");
  }

  #askBedsSoon() {
    if (this.#bedsTimer) return;
    const waitMs = Math.max(0, this.#bedsAskedMs + BEDS_AT_MOST_EVERY_MS - Date.now());
    this.#bedsTimer = window.setTimeout(() => this.#askBeds(), waitMs);
  }

  async #askBeds() {
    clearTimeout(this.#bedsTimer);
    this.#bedsTimer = 0;
    const askedMs = Date.now();
    this.#bedsAskedMs = askedMs;
    try {
      this.#store.setBeds(await api.beds(), askedMs);
      void this.#loadTrends();
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) this.#leave(true);
    }
  }

  /** One bed after the other: the past can wait, the present cannot. */
  async #loadTrends() {
    for (const { bed_id } of [...this.#store.beds.values()]) {
      const complete = this.#trendsLoaded.has(bed_id) && !this.#store.trendsWithHoles.has(bed_id);
      if (complete || this.#leaving.signal.aborted) continue;
      this.#trendsLoaded.add(bed_id);
      this.#store.trendsWithHoles.delete(bed_id);
      const frames = await api.frames(bed_id, TREND_SECONDS).catch(() => []);
      this.#store.startTrend(bed_id, frames);
    }
  }

  async #signOut() {
    await api.signOut().catch(() => {});
    this.#leave(false);
  }

  /** @param {boolean} ended */
  #leave(ended) {
    if (this.#leaving.signal.aborted) return;
    this.#leaving.abort();
    this.#stream.stop();
    void this.#sound.setWanted(false);
    if (this.#dialog.element.open) this.#dialog.close();
    const banner = mustFind("#lost-banner");
    banner.hidePopover();
    banner.hidden = true;
    delete document.body.dataset["link"];
    this.onEnd(ended);
  }
}

/** A page that receives nothing must not look healthy. @param {Store} store */
function renderLink(store) {
  const banner = mustFind("#lost-banner");
  const lost = store.isBlind;
  document.body.dataset["link"] = lost ? "lost" : store.link;
  if (banner.hidden && !lost) return;
  if (!banner.firstElementChild) fill(banner, h("strong"), h("span"));
  const [title, advice] = banner.children;
  const age = duration((Date.now() - store.lostSinceMs) / 1000);
  if (title) setText(title, t(`link.${store.link}.for`, { age }));
  if (advice) setText(advice, t("link.lost.advice"));
  banner.hidden = !lost;
  // In the top layer, and above a dialog that was opened after it.
  const dialogs = document.querySelectorAll("dialog[open]").length;
  if (!lost) banner.hidePopover();
  else if (banner.dataset["above"] !== String(dialogs)) {
    banner.hidePopover();
    banner.showPopover();
  }
  banner.dataset["above"] = lost ? String(dialogs) : "";
}
