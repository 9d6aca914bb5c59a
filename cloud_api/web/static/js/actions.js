/** What a click asks of the server. */

import { api, ApiError } from "./api.js";

/** @param {unknown} error */
export const reasonFor = (error) => (error instanceof ApiError ? error.message : String(error));

/**
 * Acknowledge, and show each step: sending, sent, confirmed by the bed, or why not.
 * @param {import("./store.js").Store} store
 * @param {string} alertId
 * @param {string | null} [reason]
 */
export async function acknowledge(store, alertId, reason = null) {
  if (store.pending.get(alertId)?.state === "sending") return;
  store.setPending(alertId, { state: "sending" });
  try {
    await api.acknowledge(alertId, reason, store.alerts.get(alertId)?.revision ?? null);
    const alert = store.alerts.get(alertId);
    if (alert?.acknowledgement_state === "none")
      store.alerts.set(alertId, {
        ...alert,
        acknowledgement_state: "sent",
        acknowledged_by: alert.acknowledged_by ?? store.session?.username ?? null,
      });
    store.setPending(alertId, null);
  } catch (error) {
    store.setPending(alertId, { state: "failed", message: reasonFor(error) });
  }
}
