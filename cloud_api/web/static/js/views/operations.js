/** For biomedical engineers and operations: devices, models, and what was refused. */

import { reasonFor } from "../actions.js";
import { api } from "../api.js";
import { fill, h, setText } from "../dom.js";
import { moment } from "../format.js";
import { t } from "../i18n.js";
import { table } from "./table.js";

const REFRESH_MS = 4_000;

export class OperationsView {
  #devices = h("section", { "data-testid": "devices" });
  #models = h("section", { "data-testid": "models" });
  #letters = h("section", { "data-testid": "dead-letters" });
  #status = h("p", { class: "hint", role: "status", "data-testid": "command-status" });
  #timer = 0;

  /** @param {import("../store.js").Store} store */
  constructor(store) {
    this.store = store;
    this.title = h("h1");
    this.element = h("section", { class: "page" }, this.title, this.#status);
    this.element.append(this.#devices, this.#models, this.#letters);
  }

  async show() {
    setText(this.title, t("nav.operations"));
    clearInterval(this.#timer);
    this.#timer = window.setInterval(() => this.#refreshIfSeen(), REFRESH_MS);
    await this.#refresh();
  }

  #refreshIfSeen() {
    if (!this.element.isConnected) return clearInterval(this.#timer);
    if (!document.hidden && !this.element.contains(document.activeElement)) void this.#refresh();
  }

  async #refresh() {
    await Promise.all([
      this.#section(this.#devices, "devices", async () => [this.#deviceTable(await api.devices())]),
      this.#section(this.#models, "models", async () => this.#modelTables(await api.models())),
      this.#section(this.#letters, "letters", async () => [letterTable(await api.deadLetters())]),
    ]);
  }

  /**
   * @param {HTMLElement} section
   * @param {string} name
   * @param {() => Promise<Node[]>} load
   */
  async #section(section, name, load) {
    const title = h("h2", {}, t(`operations.${name}`));
    try {
      fill(section, title, ...(await load()));
    } catch (error) {
      fill(section, title, h("p", { class: "problem" }, t("operations.failed", { why: reasonFor(error) })));
    }
  }

  /** @param {Ward.Device[]} devices */
  #deviceTable(devices) {
    const columns = ["device", "where", "state", "model", "refused", "windows", "outbox", "source", "agent", "seen"];
    return table(
      t("operations.devices"),
      columns.map((name) => t(`operations.${name}`)),
      devices.map((device) => ({
        cells: this.#deviceCells(device),
        attributes: { "data-device-id": device.device_id },
      })),
      t("operations.none.devices"),
    );
  }

  /** @param {Ward.Device} device */
  #deviceCells(device) {
    const state = device.connectivity === "online" && device.silent ? "silent" : device.connectivity;
    const { model } = device;
    const refused =
      model.refused_version === null
        ? model.reason
        : t("operations.refused.version", { version: model.refused_version, reason: model.reason });
    const waiting = Object.entries(device.outbox_rows).flatMap(([lane, n]) => (n > 0 ? [`${lane} ${n}`] : []));
    const mode = h("span", { class: "mode", "data-mode": device.generation_mode }, t(`mode.${device.generation_mode}`));
    const version = h("span", { class: "model-state", "data-state": model.state });
    version.append(`${model.version || "–"} · ${t(`model.${model.state}`)}`);
    return [
      h("span", { class: "with-mode" }, device.device_id, mode),
      `${device.unit_id} / ${device.bed_id}`,
      h("span", { class: "device-state", "data-state": state }, t(`device.${state}`)),
      this.#mayCommand() ? h("span", { class: "with-button" }, version, this.#rollbackButton(device)) : version,
      h("span", { class: "refused" }, refused),
      `${device.n_windows_judged} / ${device.n_windows_unjudged}`,
      waiting.join(", ") || "0",
      device.source,
      device.agent_version,
      moment(device.last_seen_time_ns),
    ];
  }

  #mayCommand() {
    return this.store.hasRole("ml_ops", "admin");
  }

  /** @param {Ward.Device} device */
  #rollbackButton(device) {
    const device_id = device.device_id;
    const question = t("operations.confirm.rollback", { device: device_id });
    const command = { action: /** @type {const} */ ("rollback"), device_id, site_id: device.site_id };
    const send = () => this.#command(question, [command]);
    const title = t("operations.rollback.title", { device: device_id });
    const attributes = { type: "button", class: "quiet-button", title, "aria-label": title, onclick: send };
    return h("button", attributes, t("operations.rollback"));
  }

  /**
   * @param {string} question
   * @param {Parameters<typeof api.commandModels>[0][]} commands one a site
   */
  async #command(question, commands) {
    if (!window.confirm(question)) return;
    try {
      for (const command of commands) await api.commandModels(command);
      setText(this.#status, t("operations.sent"));
    } catch (error) {
      setText(this.#status, t("operations.failed", { why: reasonFor(error) }));
    }
    await this.#refresh();
  }

  /** @param {Ward.Models} models */
  #modelTables(models) {
    const columns = ["model", "version", "created", "metrics", "running"];
    const versions = table(
      t("operations.models"),
      columns.map((name) => t(`operations.${name}`)),
      models.versions.map((version) => ({ cells: this.#versionCells(version, models) })),
      t("operations.none.models"),
    );
    const commands = table(
      t("operations.commands"),
      ["seen", "command", "target", "author"].map((name) =>
        t(name === "seen" ? "operations.received" : `operations.${name}`),
      ),
      models.commands.map((command) => ({ cells: commandCells(command) })),
      t("operations.none.commands"),
    );
    return [versions, h("h3", {}, t("operations.commands")), commands];
  }

  /**
   * @param {Ward.ModelVersion} version
   * @param {Ward.Models} models
   */
  #versionCells(version, models) {
    const running = models.devices.filter((device) => device.version === version.version);
    const metrics = Object.entries(version.metrics).map(([name, value]) => `${name} ${round(value)}`);
    const label = h("b", {}, String(version.version));
    return [
      version.name,
      this.#mayCommand() ? h("span", { class: "with-button" }, label, this.#installButton(version, models)) : label,
      moment(version.created_time_ns),
      h("span", { class: "metrics" }, metrics.join(", ")),
      t("operations.running.n", { n: running.length }),
    ];
  }

  /**
   * @param {Ward.ModelVersion} version
   * @param {Ward.Models} models
   */
  #installButton(version, models) {
    const question = t("operations.confirm.install", { version: version.version });
    const sites = [...new Set(models.devices.map(({ site_id }) => site_id))];
    const action = /** @type {const} */ ("install");
    const commands = sites.map((site_id) => ({ action, version: version.version, site_id }));
    const send = () => this.#command(question, commands);
    return h("button", { type: "button", class: "quiet-button", onclick: send }, t("operations.install"));
  }
}

/** @param {number} value */
const round = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(3));

/** @param {Ward.ModelCommand} command */
function commandCells(command) {
  const what = command.action === "install" ? `${t("operations.version")} ${command.version}` : t("operations.rollback");
  const target = command.device_id ?? t("operations.fleet", { site: command.site_id });
  return [moment(command.issued_time_ns), what, target, command.author];
}

/** @param {Ward.DeadLetter[]} letters */
function letterTable(letters) {
  const columns = ["received", "origin", "device", "reason", "bytes"];
  return table(
    t("operations.letters"),
    columns.map((name) => t(`operations.${name}`)),
    letters.map((letter) => ({
      cells: [
        moment(letter.received_time_ns),
        h("code", {}, letter.origin),
        letter.device_id,
        h("span", { class: "refused" }, letter.reason),
        String(letter.payload_bytes),
      ],
      attributes: { "data-letter-id": letter.letter_id },
    })),
    t("operations.none.letters"),
  );
}
