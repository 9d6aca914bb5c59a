-- What the API tier writes: devices, alerts and their strips, staff and what staff did.
-- Names: wardstream/contracts/storage.py. Runs on every server; nothing here is a time series.

-- Position in the journal that dashboards follow. Alert events, strips and acknowledgements draw
-- from it while they hold the advisory lock of the alert intake until their commit, so whoever has
-- read up to a position has read everything before it: no id becomes visible late.
CREATE SEQUENCE feed_position AS bigint;

-- The device as it last described itself, and when the cloud last heard it.
CREATE TABLE device (
    device_id text PRIMARY KEY,
    site_id text NOT NULL,
    unit_id text NOT NULL,
    bed_id text NOT NULL,
    boot_id uuid NOT NULL,
    connectivity text NOT NULL CHECK (connectivity IN ('online', 'stopped', 'lost')),
    generation_mode text NOT NULL CHECK (generation_mode IN ('real', 'test', 'demo')),
    source text NOT NULL,
    agent_version text NOT NULL,
    reported_time_ns bigint NOT NULL,
    last_sample_time_ns bigint NOT NULL,
    heard_time_ns bigint NOT NULL,
    silent boolean NOT NULL DEFAULT false,
    model_state text NOT NULL,
    model_version integer NOT NULL,
    model_sha256 text NOT NULL,
    model_refused_version integer,
    model_reason text NOT NULL,
    n_windows_judged bigint NOT NULL,
    n_windows_unjudged bigint NOT NULL,
    outbox_rows jsonb NOT NULL,
    outbox_bytes jsonb NOT NULL,
    channels text[] NOT NULL
) WITH (fillfactor = 50);
COMMENT ON COLUMN device.heard_time_ns IS 'cloud clock at the last live status; a will or a retained copy is no sign of life';

-- Where each life of a device stands: an alert belongs to the bed of the boot that raised it.
CREATE TABLE device_boot (
    device_id text NOT NULL,
    boot_id uuid NOT NULL,
    site_id text NOT NULL,
    unit_id text NOT NULL,
    bed_id text NOT NULL,
    first_heard_time_ns bigint NOT NULL,
    PRIMARY KEY (device_id, boot_id)
);

-- Every change of every alert, as it was said, once.
CREATE TABLE alert_event (
    event_id bigint PRIMARY KEY DEFAULT nextval('feed_position'),
    device_id text NOT NULL,
    boot_id uuid NOT NULL,
    sequence_number bigint NOT NULL,
    alert_id uuid NOT NULL,
    condition text NOT NULL,
    kind text NOT NULL,
    priority text NOT NULL,
    transition text NOT NULL,
    presence text NOT NULL,
    audible text NOT NULL,
    visible text NOT NULL,
    onset_time_ns bigint NOT NULL,
    event_time_ns bigint NOT NULL,
    received_time_ns bigint NOT NULL,
    decided_time_ns bigint NOT NULL,
    stored_time_ns bigint NOT NULL,
    model_version text NOT NULL,
    rule_version text NOT NULL,
    generation_mode text NOT NULL,
    evidence jsonb NOT NULL,
    acknowledged_by text,
    acknowledgement_expires_ns bigint,
    superseded boolean NOT NULL DEFAULT false,
    UNIQUE (device_id, boot_id, sequence_number)
);
CREATE INDEX alert_event_by_alert ON alert_event (alert_id, event_id);
COMMENT ON COLUMN alert_event.superseded IS 'came after a newer event of the same alert and did not move it';

-- How each alert stands: its newest event by the device's own order, never by arrival.
CREATE TABLE alert (
    alert_id uuid PRIMARY KEY,
    device_id text NOT NULL,
    boot_id uuid NOT NULL,
    site_id text NOT NULL,
    unit_id text NOT NULL,
    bed_id text NOT NULL,
    condition text NOT NULL,
    kind text NOT NULL,
    priority text NOT NULL,
    presence text NOT NULL,
    onset_time_ns bigint NOT NULL,
    model_version text NOT NULL,
    generation_mode text NOT NULL,
    last_event_id bigint NOT NULL REFERENCES alert_event (event_id),
    has_strip boolean NOT NULL DEFAULT false
) WITH (fillfactor = 70);
CREATE INDEX alert_by_onset ON alert (onset_time_ns DESC);
CREATE INDEX alert_by_device ON alert (device_id, onset_time_ns DESC);
CREATE INDEX alert_by_bed ON alert (bed_id, onset_time_ns DESC);
CREATE INDEX alert_active ON alert (device_id) WHERE presence <> 'off';
COMMENT ON COLUMN alert.bed_id IS 'empty until the boot that raised it has said where it stands';

-- The curves around an alert, in the wire form of wardstream.contracts.codec (AlertStrip).
CREATE TABLE alert_strip (
    event_id bigint PRIMARY KEY DEFAULT nextval('feed_position'),
    alert_id uuid NOT NULL,
    device_id text NOT NULL,
    boot_id uuid NOT NULL,
    sequence_number bigint NOT NULL,
    payload bytea NOT NULL,
    stored_time_ns bigint NOT NULL,
    UNIQUE (device_id, boot_id, sequence_number)
);
CREATE INDEX alert_strip_by_alert ON alert_strip (alert_id);

-- What staff said of an alert, until the bed confirms it.
CREATE TABLE acknowledgement (
    event_id bigint PRIMARY KEY DEFAULT nextval('feed_position'),
    command_id uuid NOT NULL UNIQUE,
    alert_id uuid NOT NULL REFERENCES alert (alert_id),
    device_id text NOT NULL,
    site_id text NOT NULL,
    author text NOT NULL,
    reason text,
    issued_time_ns bigint NOT NULL,
    expires_time_ns bigint NOT NULL,
    state text NOT NULL DEFAULT 'sent' CHECK (state IN ('sent', 'confirmed', 'void')),
    confirmed_time_ns bigint,
    n_sent integer NOT NULL DEFAULT 0,
    next_send_time_ns bigint NOT NULL
);
CREATE INDEX acknowledgement_by_alert ON acknowledgement (alert_id, event_id);
CREATE INDEX acknowledgement_open ON acknowledgement (next_send_time_ns) WHERE state = 'sent';

-- Whether an alert was right; what the learning path reads.
CREATE TABLE verdict (
    verdict_id uuid PRIMARY KEY,
    alert_id uuid NOT NULL REFERENCES alert (alert_id),
    verdict text NOT NULL CHECK (verdict IN ('true', 'false', 'unsure')),
    comment text,
    author text NOT NULL,
    given_time_ns bigint NOT NULL
);
CREATE INDEX verdict_by_alert ON verdict (alert_id, given_time_ns);

-- What operations told a device (device_id set) or a site's whole fleet.
CREATE TABLE model_command (
    command_id uuid PRIMARY KEY,
    site_id text NOT NULL,
    device_id text,
    action text NOT NULL CHECK (action IN ('install', 'rollback')),
    version integer NOT NULL,
    author text NOT NULL,
    issued_time_ns bigint NOT NULL,
    published_time_ns bigint
);
CREATE INDEX model_command_unpublished ON model_command (issued_time_ns) WHERE published_time_ns IS NULL;

CREATE TABLE staff_user (
    username text PRIMARY KEY,
    password_hash text NOT NULL,
    roles text[] NOT NULL,
    disabled boolean NOT NULL DEFAULT false,
    created_time timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE staff_session (
    session_id uuid PRIMARY KEY,
    username text NOT NULL REFERENCES staff_user (username) ON DELETE CASCADE,
    issued_time_ns bigint NOT NULL,
    expires_time_ns bigint NOT NULL,
    seen_time_ns bigint NOT NULL,
    revoked_time_ns bigint
);
CREATE INDEX staff_session_by_user ON staff_session (username);

-- Who did what, append-only; each row holds the hash of the one before it.
CREATE TABLE audit_log (
    entry_number bigint PRIMARY KEY,
    time_ns bigint NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    detail text NOT NULL,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
