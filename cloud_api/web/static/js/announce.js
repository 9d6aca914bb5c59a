/** Says new alarms to screen readers: high at once, the others when there is a pause. */

import { mustFind } from "./dom.js";
import { conditionLabel, t } from "./i18n.js";
import { isUnanswered } from "./ordering.js";
import { isDisclosure } from "./silences.js";

/** @param {Ward.Alert} alert */
export function announce(alert) {
  if (!isUnanswered(alert) || isDisclosure(alert)) return;
  if (alert.transition !== "onset" && alert.transition !== "reactivated") return;
  const region = mustFind(alert.priority === "high" ? "#announce-now" : "#announce-soon");
  region.textContent = t("alert.announce", {
    priority: t(`priority.${alert.priority}`),
    label: conditionLabel(alert),
    bed: alert.bed_id,
  });
}
