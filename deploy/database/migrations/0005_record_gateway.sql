-- What the record gateway knows: the ledger of movements from which bed histories are made, what
-- was said of them, and what the streams have not confirmed yet. Pseudonyms only; the messages
-- themselves are not kept.

-- Answers given, so that a message sent again gets the same one and is applied once.
CREATE TABLE record_message (
    sender text NOT NULL,
    control_id text NOT NULL,
    digest bytea NOT NULL,
    answer text NOT NULL,
    answer_text text NOT NULL,
    condition_code text NOT NULL,
    received_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sender, control_id, digest)
);
CREATE INDEX record_message_by_time ON record_message (received_time);
COMMENT ON COLUMN record_message.digest IS 'keyed hash of the message: it says nothing to who lacks the site''s secret';

-- Admission messages in our words. Never changed: a cancellation is a row of its own.
CREATE TABLE record_movement (
    movement_id text PRIMARY KEY,
    kind text NOT NULL,
    pseudonym text NOT NULL,
    encounter_id text,
    bed_id text,
    effective_time_ns bigint NOT NULL,
    recorded_time_ns bigint NOT NULL,
    merged_into text,
    stored_time timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind = 'merge') = (merged_into IS NOT NULL))
);
CREATE INDEX record_movement_by_patient ON record_movement (pseudonym);

-- Who a pseudonym is now, for whoever reads rows written before a merge.
CREATE VIEW patient_merge AS
    SELECT pseudonym, merged_into, recorded_time_ns FROM record_movement WHERE kind = 'merge';

-- What was said last of each bed for each moment.
CREATE TABLE record_bed_point (
    bed_id text NOT NULL,
    effective_time_ns bigint NOT NULL,
    pseudonym text,
    recorded_time_ns bigint NOT NULL,
    PRIMARY KEY (bed_id, effective_time_ns)
) WITH (fillfactor = 80);

-- What is known under one pseudonym: year of birth, sex, problems, charted values.
CREATE TABLE record_patient (
    pseudonym text PRIMARY KEY,
    known jsonb NOT NULL,
    stored_time timestamptz NOT NULL DEFAULT now()
);

-- Records for Kafka, kept until the row they become is there: a broker may lose what it took.
CREATE TABLE record_outbox (
    row_id text PRIMARY KEY,
    position bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL CHECK (kind IN ('bed', 'context', 'observation', 'letter')),
    topic text NOT NULL,
    partition_key text NOT NULL,
    payload bytea NOT NULL,
    timestamp_ms bigint NOT NULL,
    stored_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX record_outbox_by_position ON record_outbox (position);

-- Observations that were mapped or quarantined, by the transaction that did it: each once.
CREATE TABLE record_observed (
    message_id uuid PRIMARY KEY,
    stored_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX record_observed_by_time ON record_observed (stored_time);

-- How far each FHIR server was read.
CREATE TABLE fhir_cursor (
    server text NOT NULL,
    resource_type text NOT NULL,
    last_updated text NOT NULL,
    stored_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (server, resource_type)
);
