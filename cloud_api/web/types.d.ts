/**
 * What the API says, as `cloud_api/core/views.py` writes it. Times are nanoseconds UTC; a number
 * holds them to about 0.3 µs, which is enough to show and to order.
 */
declare namespace Ward {
  type Priority = "high" | "medium" | "low";
  type Presence = "on" | "latch" | "ack" | "off";
  type Connectivity = "online" | "stopped" | "lost";
  type GenerationMode = "real" | "test" | "demo";
  type VerdictWord = "true" | "false" | "unsure";

  interface Session {
    username: string;
    roles: string[];
    expires_time_ns: number;
  }

  interface Alert {
    alert_id: string;
    device_id: string;
    bed_id: string;
    unit_id: string;
    condition: string;
    label: string;
    kind: "physiological" | "technical";
    priority: Priority;
    presence: Presence;
    transition: string;
    onset_time_ns: number;
    event_time_ns: number;
    decided_time_ns: number;
    stored_time_ns: number;
    model_version: string;
    generation_mode: GenerationMode;
    evidence: Record<string, number>;
    acknowledged_by: string | null;
    acknowledgement_expires_ns: number | null;
    acknowledgement_state: "none" | "sent" | "confirmed";
    has_strip: boolean;
    sequence_number: number;
    event_id: number;
    /** Counts its changes at the bed. */
    revision: number;
    audible: SignalState;
    visible: SignalState;
    actor: string | null;
    reason: string | null;
    terms: Terms | null;
    escalation: Escalation | null;
  }

  type SignalState = "on" | "paused" | "off";
  type SilenceKind = "audio_paused" | "audio_off" | "alarm_paused" | "alarm_off";

  /** What a person ordered at a bed. */
  interface Terms {
    author: string;
    station_id: string;
    scope: string | null;
    expires_time_ns: number | null;
    /** Whether it works now: only under a live lease of its station. */
    held: boolean;
  }

  interface SilenceWish {
    kind: SilenceKind;
    scope?: string;
    seconds?: number;
    reason?: string;
  }

  /** The last call about an alert that nobody answered. */
  interface Escalation {
    level: number;
    role: string;
    called_time_ns: number;
    delivered_to: string | null;
  }

  interface Acknowledgement {
    author: string;
    reason: string | null;
    issued_time_ns: number;
    expires_time_ns: number;
    state: "sent" | "confirmed" | "void";
    confirmed_time_ns: number | null;
  }

  interface Verdict {
    verdict: VerdictWord;
    comment: string | null;
    author: string;
    given_time_ns: number;
  }

  interface AlertDetail extends Alert {
    events: Alert[];
    acknowledgements: Acknowledgement[];
    verdicts: Verdict[];
  }

  interface StripChannel {
    code: string;
    label: string;
    unit: string;
    sampling_rate_hz: number;
    start_time_ns: number;
    samples: (number | null)[];
  }

  interface Strip {
    alert_id: string;
    onset_time_ns: number;
    channels: StripChannel[];
  }

  interface Numerics {
    time_ns: number | null;
    age_s: number | null;
    values: Record<string, number | null>;
  }

  interface Patient {
    pseudonym: string;
    age_years: number | null;
    problems: string[];
    news2_low: number | null;
    news2_high: number | null;
  }

  interface ModelReport {
    state: "running" | "installing" | "refused" | "unavailable";
    version: number;
    reason: string;
    refused_version: number | null;
  }

  interface Bed {
    bed_id: string;
    unit_id: string;
    site_id: string;
    device_id: string;
    connectivity: Connectivity;
    generation_mode: GenerationMode;
    source: string;
    last_seen_time_ns: number;
    silent: boolean;
    model: ModelReport;
    numerics: Numerics;
    patient: Patient | null;
    alerts: Alert[];
  }

  interface BedNumerics extends Partial<Patient> {
    bed_id: string;
    time_ns: number;
    values: Record<string, number | null>;
  }

  interface Device {
    device_id: string;
    site_id: string;
    unit_id: string;
    bed_id: string;
    connectivity: Connectivity;
    generation_mode: GenerationMode;
    source: string;
    agent_version: string;
    last_seen_time_ns: number;
    silent: boolean;
    model: ModelReport;
    n_windows_judged: number;
    n_windows_unjudged: number;
    outbox_rows: Record<string, number>;
    channels: string[];
    quarantined: { channel: string; reason: string; count: number }[];
  }

  interface DeadLetter {
    letter_id: string;
    origin: string;
    device_id: string;
    reason: string;
    received_time_ns: number;
    payload_bytes: number;
  }

  interface ModelVersion {
    name: string;
    version: number;
    created_time_ns: number | null;
    sha256: string;
    metrics: Record<string, number>;
  }

  interface ModelCommand {
    command_id: string;
    site_id: string;
    device_id: string | null;
    action: "install" | "rollback";
    version: number;
    author: string;
    issued_time_ns: number;
    published_time_ns: number | null;
  }

  interface Models {
    versions: ModelVersion[];
    devices: { device_id: string; site_id: string; bed_id: string; version: number }[];
    commands: ModelCommand[];
  }

  /**
   * How the page stands to the beds: only `live` may look healthy. `lost`: no server; `deaf`: the
   * server answers but has lost its own link to the beds or its store.
   */
  type LinkState = "connecting" | "live" | "lost" | "deaf";

  interface Heartbeat {
    time_ns: number;
    broker: "up" | "down";
    store: "up" | "down";
  }

  /** A finished server-sent event. */
  interface StreamEvent {
    id: string;
    event: string;
    data: string;
  }

  /** What one click asked for and has not been answered yet. */
  type Pending = { state: "sending" } | { state: "failed"; message: string };
}
