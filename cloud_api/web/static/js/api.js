/** The HTTP contract, one function a route. */

/** An answer that was not a success, with what the server said. */
export class ApiError extends Error {
  /**
   * @param {number} status 0 if no answer came
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const TIMEOUT_MS = 10_000;

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
async function call(method, path, body) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-Requested-With"] = "wardstream";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(`/api/${path}`, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new ApiError(0, "the server does not answer");
  }
  if (!response.ok) throw new ApiError(response.status, await reasonOf(response));
  return response.status === 204 ? null : response.json().catch(() => null);
}

/**
 * @param {Response} response
 * @returns {Promise<string>}
 */
async function reasonOf(response) {
  const body = await response.json().catch(() => null);
  const detail = body?.detail ?? body?.message ?? body?.error;
  if (typeof detail === "string") return detail;
  return `${response.status} ${response.statusText}`.trim();
}

/** @param {Record<string, string | number | boolean | null | undefined>} query */
function queryOf(query) {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    if (value !== null && value !== undefined && value !== "") parts.set(name, String(value));
  return parts.size ? `?${parts}` : "";
}

/** @param {string} id */
const segment = (id) => encodeURIComponent(id);

export const api = {
  /** @returns {Promise<Ward.Session>} */
  session: () => call("GET", "session"),
  /**
   * @param {string} username
   * @param {string} password
   * @returns {Promise<Ward.Session>}
   */
  signIn: (username, password) => call("POST", "session", { username, password }),
  signOut: () => call("DELETE", "session"),
  /** @returns {Promise<Ward.Bed[]>} */
  beds: () => call("GET", "beds"),
  /**
   * The newest stored seconds of a bed, oldest first.
   * @param {string} bedId
   * @param {number} limit
   * @returns {Promise<{time_ns: number, values: Record<string, number | null>}[]>}
   */
  frames: (bedId, limit) => call("GET", `beds/${segment(bedId)}/frames${queryOf({ limit })}`),
  /**
   * @param {{active?: boolean | null, bed_id?: string, limit?: number}} query
   * @returns {Promise<Ward.Alert[]>}
   */
  alerts: (query) => call("GET", `alerts${queryOf(query)}`),
  /**
   * @param {string} id
   * @returns {Promise<Ward.AlertDetail>}
   */
  alert: (id) => call("GET", `alerts/${segment(id)}`),
  /**
   * @param {string} id
   * @returns {Promise<Ward.Strip | null>} null while the bed has sent none
   */
  strip: async (id) => {
    try {
      return await call("GET", `alerts/${segment(id)}/strip`);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return null;
      throw error;
    }
  },
  /**
   * @param {string} id
   * @param {string | null} reason
   * @param {number | null} [revision] of the alert as it was shown
   */
  acknowledge: (id, reason, revision = null) =>
    call("POST", `alerts/${segment(id)}/acknowledgement`, {
      ...(reason ? { reason } : {}),
      ...(revision ? { seen_revision: revision } : {}),
    }),
  /**
   * @param {string} deviceId
   * @param {Ward.SilenceWish & {station_id: string, seen: Record<string, number>}} wish
   */
  silence: (deviceId, wish) => call("POST", `devices/${segment(deviceId)}/silences`, wish),
  /**
   * @param {string} silenceId
   * @param {string} station_id
   */
  endSilence: (silenceId, station_id) =>
    call("POST", `silences/${segment(silenceId)}/end`, { station_id }),
  /**
   * This station lives.
   * @param {string} station_id
   */
  renew: (station_id) => call("POST", "stations/renewal", { station_id }),
  /**
   * This station has shown a call.
   * @param {string} alertId
   * @param {number} level
   */
  shown: (alertId, level) => call("POST", `alerts/${segment(alertId)}/calls/${level}/shown`),
  /**
   * @param {string} id
   * @param {Ward.VerdictWord} verdict
   * @param {string | null} comment
   */
  judge: (id, verdict, comment) =>
    call("POST", `alerts/${segment(id)}/verdict`, comment ? { verdict, comment } : { verdict }),
  /** @returns {Promise<Ward.Device[]>} */
  devices: () => call("GET", "devices"),
  /** @returns {Promise<Ward.DeadLetter[]>} */
  deadLetters: () => call("GET", "dead-letters"),
  /** @returns {Promise<Ward.Models>} */
  models: () => call("GET", "models"),
  /** @param {{action: "install" | "rollback", version?: number, device_id?: string | null, site_id: string}} command */
  commandModels: (command) => call("POST", "models/commands", command),
};
