/** Which alarm comes first. */

/** @type {Record<Ward.Priority, number>} */
const RANK = { high: 0, medium: 1, low: 2 };

/** Shape beside the colour, as monitors print it. @type {Record<Ward.Priority, string>} */
export const MARK = { high: "***", medium: "**", low: "*" };

/** @type {readonly Ward.Priority[]} */
export const PRIORITIES = ["high", "medium", "low"];

/** @param {Ward.Alert} alert */
export const isActive = (alert) => alert.presence !== "off";

/** Still calls for someone: shows and nobody took it on. @param {Ward.Alert} alert */
export const isUnanswered = (alert) => alert.presence === "on" || alert.presence === "latch";

/**
 * Higher priority first; of one priority the unanswered before the acknowledged; then the newest.
 * @param {Ward.Alert} a
 * @param {Ward.Alert} b
 */
export function byUrgency(a, b) {
  return (
    RANK[a.priority] - RANK[b.priority] ||
    Number(isUnanswered(b)) - Number(isUnanswered(a)) ||
    b.onset_time_ns - a.onset_time_ns ||
    a.alert_id.localeCompare(b.alert_id)
  );
}

/**
 * "ICU-2" before "ICU-10".
 * @param {{bed_id: string}} a
 * @param {{bed_id: string}} b
 */
export const byBed = (a, b) => a.bed_id.localeCompare(b.bed_id, "en", { numeric: true });

/**
 * How many alerts of each priority nobody has taken on.
 * @param {Iterable<Ward.Alert>} alerts
 */
export function countUnanswered(alerts) {
  const counts = { high: 0, medium: 0, low: 0 };
  for (const alert of alerts) if (isUnanswered(alert)) counts[alert.priority] += 1;
  return counts;
}
