/** How a bed is silenced from the open alarm: two timed ways, and two for who may switch off. */

import { reasonFor } from "../actions.js";
import { arrange, h, setAttribute, setText } from "../dom.js";
import { conditionLabel, t } from "../i18n.js";
import { SilenceLine } from "./silence_line.js";

const PAUSE_S = 120;

/** @type {{kind: Ward.SilenceKind, scoped: boolean, off: boolean}[]} */
const WAYS = [
  { kind: "audio_paused", scoped: false, off: false },
  { kind: "alarm_paused", scoped: true, off: false },
  { kind: "audio_off", scoped: false, off: true },
  { kind: "alarm_off", scoped: true, off: true },
];

export class SilenceForm {
  #title = h("h3");
  #note = h("p", { class: "empty" });
  #lines = h("div", { class: "silences" });
  #said = h("p", { class: "answer", "data-testid": "silence-said", role: "status" });
  #reason = h("input", { type: "text", maxlength: "200", id: "silence-reason" });
  #reasonLabel = h("label", { for: "silence-reason" });
  #reasonField = h("div", { class: "field" }, this.#reasonLabel, this.#reason);
  #buttons = WAYS.map((way) => this.#button(way));
  /** @type {Map<string, SilenceLine>} */
  #shown = new Map();
  /** @type {Ward.Alert | null} */
  #alert = null;

  /**
   * @param {import("../store.js").Store} store
   * @param {import("../silences.js").StationPulse} pulse
   */
  constructor(store, pulse) {
    this.store = store;
    this.pulse = pulse;
    const buttons = h("div", { class: "silence-buttons" }, ...this.#buttons);
    const parts = [this.#title, this.#lines, this.#note, buttons, this.#reasonField, this.#said];
    this.element = h("section", { class: "silence-form", "data-testid": "silence-form" }, ...parts);
  }

  reset() {
    setText(this.#said, "");
    this.#reason.value = "";
  }

  /** @param {Ward.Alert} alert */
  render(alert) {
    this.#alert = alert;
    setText(this.#title, t("silence.title"));
    setText(this.#note, t("silence.note"));
    setText(this.#reasonLabel, t("silence.reason"));
    const mayPause = this.store.hasRole("nurse", "physician");
    const mayOff = this.store.hasRole("physician");
    const label = conditionLabel(alert);
    WAYS.forEach((way, index) => {
      const button = this.#buttons[index];
      if (!button) return;
      button.hidden = way.off ? !mayOff : !mayPause;
      button.disabled = this.store.isBlind;
      setText(button, t(`silence.do.${way.kind}`, { label, min: PAUSE_S / 60 }));
    });
    this.#reasonField.hidden = !mayOff;
    const silences = this.store.silencesOf(alert.device_id);
    const lines = silences.map((silence) => {
      let line = this.#shown.get(silence.alert_id);
      if (!line) {
        line = new SilenceLine(mayPause ? (id) => void this.#end(id) : null);
        this.#shown.set(silence.alert_id, line);
      }
      line.update(silence, this.store.nowMs());
      return line.element;
    });
    arrange(this.#lines, lines);
    this.#note.hidden = !mayPause;
  }

  /** @param {{kind: Ward.SilenceKind, scoped: boolean, off: boolean}} way */
  #button(way) {
    const attributes = { type: "button", class: "quiet-button", "data-testid": `silence-${way.kind}` };
    return h("button", { ...attributes, onclick: () => void this.#order(way) });
  }

  /** @param {{kind: Ward.SilenceKind, scoped: boolean, off: boolean}} way */
  async #order(way) {
    const alert = this.#alert;
    if (!alert) return;
    const reason = this.#reason.value.trim() || null;
    if (way.off && !reason) {
      this.#reason.focus();
      return this.#say(t("silence.needsReason"), "failed");
    }
    await this.#try(() =>
      this.pulse.order(alert.device_id, {
        kind: way.kind,
        ...(way.scoped ? { scope: alert.condition } : {}),
        ...(way.off ? {} : { seconds: PAUSE_S }),
        ...(reason ? { reason } : {}),
      }),
    );
  }

  /** @param {string} silenceId */
  #end(silenceId) {
    return this.#try(() => this.pulse.end(silenceId));
  }

  /** @param {() => Promise<unknown>} action */
  async #try(action) {
    this.#say(t("alert.sending"), "sending");
    try {
      await action();
      this.#say(t("silence.sent"), "sent");
    } catch (error) {
      this.#say(t("alert.failed", { why: reasonFor(error) }), "failed");
    }
  }

  /**
   * @param {string} text
   * @param {string} state
   */
  #say(text, state) {
    setText(this.#said, text);
    setAttribute(this.#said, "data-answer", state);
  }
}
