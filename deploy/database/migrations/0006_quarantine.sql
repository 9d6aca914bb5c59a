-- What the record says, in our codes and units; and what could not be mapped, whole, until a
-- person says what it is.

-- Mapped observations. The identity is of patient, concept, time, value and source, so the same
-- statement twice is one row. Gaps that were filled are never here: nothing writes them.
CREATE TABLE observations (
    observation_id uuid NOT NULL,
    time timestamptz NOT NULL,
    time_ns bigint NOT NULL,
    pseudonym text NOT NULL,
    encounter_id text,
    kind text NOT NULL CHECK (kind IN ('quantity', 'finding', 'condition', 'medication', 'event')),
    concept text NOT NULL,
    code_system text NOT NULL,
    code text NOT NULL,
    value double precision CHECK (value - value = 0), -- finite
    value_text text,
    unit text,
    flags text[] NOT NULL,
    stated_code_system text NOT NULL,
    stated_code text NOT NULL,
    stated_value text,
    stated_unit text,
    source text NOT NULL,
    message_id text NOT NULL,
    contradicted boolean NOT NULL DEFAULT false,
    decision text CHECK (decision IN ('use', 'refuse')),
    decided_by text,
    decided_time timestamptz,
    stored_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (observation_id, time),
    CHECK ((decision IS NULL) = (decided_by IS NULL)),
    CHECK (kind <> 'quantity' OR (value IS NOT NULL AND unit IS NOT NULL))
);
COMMENT ON COLUMN observations.contradicted IS
    'another row of the same patient, concept and time says otherwise; not used until decided';
CREATE INDEX observations_by_patient ON observations (pseudonym, concept, time DESC);
CREATE INDEX observations_contradicted ON observations (pseudonym, concept, time)
    WHERE contradicted AND decision IS NULL;
-- A hypertable where there is one. On plain PostgreSQL one table: a record reaches decades back,
-- and a partition for each of its days would be worse than none.
DO $$
BEGIN
    IF store_tier() <> 'plain' THEN
        PERFORM create_hypertable('observations', 'time', chunk_time_interval => interval '90 days',
                                  create_default_indexes => false);
    END IF;
END
$$;

-- What may be used: not contradicted, or decided by a person.
CREATE VIEW observation_usable AS
    SELECT * FROM observations
    WHERE decision IS DISTINCT FROM 'refuse' AND (NOT contradicted OR decision = 'use');

-- Marks rows of these patients and concepts that say different things of one moment; returns how
-- many. Values stated in different units differ only beyond what rounding explains (1 %).
-- Two doses at one time are no contradiction, nor are two events.
CREATE FUNCTION mark_contradictions(patients text[], concepts text[], times timestamptz[])
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    marked integer;
BEGIN
    UPDATE observations AS one SET contradicted = true
    FROM (SELECT DISTINCT * FROM unnest(patients, concepts, times) AS t (pseudonym, concept, time)) AS looked
    WHERE one.pseudonym = looked.pseudonym AND one.concept = looked.concept
        AND one.time = looked.time AND NOT one.contradicted
        AND one.kind IN ('quantity', 'finding', 'condition')
        AND EXISTS (
            SELECT FROM observations AS other
            WHERE other.pseudonym = one.pseudonym AND other.concept = one.concept
                AND other.time = one.time AND other.time_ns = one.time_ns
                AND other.observation_id <> one.observation_id
                AND (other.value_text IS DISTINCT FROM one.value_text
                    OR CASE WHEN other.stated_unit IS NOT DISTINCT FROM one.stated_unit
                            THEN other.value IS DISTINCT FROM one.value
                            ELSE abs(other.value - one.value)
                                > 0.01 * greatest(abs(other.value), abs(one.value)) END));
    GET DIAGNOSTICS marked = ROW_COUNT;
    RETURN marked;
END
$$;

-- What was held back, as it came. waiting: nobody has looked; mapped: a person said what it is;
-- replayed: it is an observation now; refused: a person said that it is none.
CREATE TABLE quarantine (
    quarantine_id uuid PRIMARY KEY,
    received_time timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'mapped', 'replayed', 'refused')),
    reason text NOT NULL,
    reason_text text NOT NULL,
    concept text,
    pseudonym text NOT NULL,
    encounter_id text,
    time timestamptz NOT NULL,
    time_ns bigint NOT NULL,
    code_system text NOT NULL,
    code text NOT NULL,
    code_text text NOT NULL,
    value_text text,
    value_is_number boolean NOT NULL,
    unit text,
    source text NOT NULL,
    message_id text NOT NULL,
    decided_by text,
    decided_time timestamptz,
    decided_concept text,
    decided_unit text,
    observation_id uuid,
    stored_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((state = 'replayed') = (observation_id IS NOT NULL)),
    CHECK (state NOT IN ('mapped', 'refused') OR decided_by IS NOT NULL)
);
CREATE INDEX quarantine_by_state ON quarantine (state, received_time);
CREATE INDEX quarantine_by_code ON quarantine (code_system, code) WHERE state = 'waiting';

-- What a person said once; part of the terminology from the next batch on.
CREATE TABLE local_mappings (
    code_system text NOT NULL,
    code text NOT NULL,
    code_text text NOT NULL,
    stated_unit text NOT NULL,
    source text NOT NULL,
    concept text NOT NULL,
    unit text,
    decided_by text NOT NULL,
    decided_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (code_system, code, code_text, stated_unit, source)
);
COMMENT ON COLUMN local_mappings.source IS 'sender for which it holds; empty: for all';
CREATE SEQUENCE terminology_version;
CREATE FUNCTION count_terminology() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM nextval('terminology_version');
    RETURN NULL;
END
$$;
CREATE TRIGGER local_mappings_changed AFTER INSERT OR UPDATE OR DELETE ON local_mappings
    FOR EACH STATEMENT EXECUTE FUNCTION count_terminology();

-- For the dashboard: what waits for a person, one row each and by what has to be said.
CREATE VIEW quarantine_open AS
    SELECT quarantine_id, received_time, state, reason, reason_text, concept, pseudonym, time,
        code_system, code, code_text, value_text, unit, source
    FROM quarantine WHERE state IN ('waiting', 'mapped');
CREATE VIEW quarantine_groups AS
    SELECT reason, code_system, code, code_text, unit, source, count(*) AS n_waiting,
        min(received_time) AS first_received_time, max(received_time) AS last_received_time,
        (array_agg(quarantine_id ORDER BY received_time DESC))[1] AS newest_quarantine_id
    FROM quarantine WHERE state = 'waiting'
    GROUP BY reason, code_system, code, code_text, unit, source;
-- Contradictions that nobody has decided.
CREATE VIEW observation_contradictions AS
    SELECT observation_id, pseudonym, concept, time, value, value_text, unit, stated_value,
        stated_unit, source, message_id
    FROM observations WHERE contradicted AND decision IS NULL;
