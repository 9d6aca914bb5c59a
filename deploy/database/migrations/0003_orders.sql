-- What people order at a bed (silences, limits), who was called about an alert, and the fuller
-- story of each alert event. Rows of before keep their meaning: revision 0 is ordered as it was.

ALTER TABLE alert_event
    ADD COLUMN revision bigint NOT NULL DEFAULT 0,
    ADD COLUMN actor text,
    ADD COLUMN reason text,
    ADD COLUMN terms jsonb;
COMMENT ON COLUMN alert_event.revision IS 'counts the changes of the alert at the bed; the greatest is how it stands, 0 from agents that did not count and in notes';

ALTER TABLE acknowledgement ADD COLUMN seen_revision bigint;
COMMENT ON COLUMN acknowledgement.seen_revision IS 'revision the author saw; a later activation is not acknowledged by it';

-- Signed orders as they go to the device, until its own event confirms them.
CREATE TABLE person_order (
    command_id uuid PRIMARY KEY,
    subject_id uuid NOT NULL,
    device_id text NOT NULL,
    site_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('silence', 'end', 'limits')),
    author text NOT NULL,
    station_id text NOT NULL,
    payload bytea NOT NULL,
    issued_time_ns bigint NOT NULL,
    send_until_time_ns bigint NOT NULL,
    state text NOT NULL DEFAULT 'sent' CHECK (state IN ('sent', 'confirmed')),
    n_sent integer NOT NULL DEFAULT 1,
    next_send_time_ns bigint NOT NULL
);
CREATE INDEX person_order_open ON person_order (next_send_time_ns) WHERE state = 'sent';
CREATE INDEX person_order_by_station ON person_order (station_id, author) WHERE state = 'sent';
COMMENT ON COLUMN person_order.subject_id IS 'id of the alert by which the bed tells of the silence or the limits';

-- Who was called about an alert that nobody answered, and whose station has shown it.
CREATE TABLE escalation (
    alert_id uuid NOT NULL REFERENCES alert (alert_id),
    level integer NOT NULL,
    activated_event_id bigint NOT NULL,
    role text NOT NULL,
    called_time_ns bigint NOT NULL,
    delivered_time_ns bigint,
    delivered_to text,
    PRIMARY KEY (alert_id, activated_event_id, level)
);
COMMENT ON COLUMN escalation.activated_event_id IS 'the onset or reactivation that was not answered: a new one begins the ladder anew';
