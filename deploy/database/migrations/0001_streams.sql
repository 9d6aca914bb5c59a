-- What the stream tier writes. Names: wardstream/contracts/storage.py.
-- Runs on TimescaleDB (any licence) and on plain PostgreSQL >= 15; see deploy/database/migrate.py.

-- Roles. Group roles without login; a site grants them to its users. Where the migrating user may
-- not create roles the site's administrator does.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['wardstream_writer', 'wardstream_reader'] LOOP
        IF to_regrole(name) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', name);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN NULL; -- another database of this cluster was faster
                WHEN insufficient_privilege THEN RAISE NOTICE 'role % not created: no CREATEROLE', name;
            END;
        END IF;
        IF to_regrole(name) IS NOT NULL THEN
            EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', name);
            EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO %I', name);
        END IF;
    END LOOP;
    IF to_regrole('wardstream_writer') IS NOT NULL THEN
        ALTER DEFAULT PRIVILEGES IN SCHEMA public
            GRANT INSERT, UPDATE, DELETE ON TABLES TO wardstream_writer;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO wardstream_writer;
    END IF;
END
$$;

-- What the server offers: 'timescale_community', 'timescale_apache' or 'plain'.
CREATE FUNCTION store_tier() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN 'plain'
        WHEN current_setting('timescaledb.license', true) = 'timescale' THEN 'timescale_community'
        ELSE 'timescale_apache'
    END
$$;

-- Turns an empty table into a time series in the physical form this server has: a hypertable, or
-- range partitions by day. Any primary key must contain the column `time`.
CREATE PROCEDURE make_time_series(series regclass, chunk interval DEFAULT '1 day')
LANGUAGE plpgsql AS $$
DECLARE
    name text := series::text;
    shape text := series::text || '_shape';
BEGIN
    IF store_tier() <> 'plain' THEN
        PERFORM create_hypertable(series, 'time', chunk_time_interval => chunk,
                                  create_default_indexes => false);
        RETURN;
    END IF;
    EXECUTE format('ALTER TABLE %I RENAME TO %I', name, shape);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) PARTITION BY RANGE (time)', name, shape);
    EXECUTE format('DROP TABLE %I', shape);
END
$$;

-- Makes the partitions that rows of [from_time, to_time] need; the extension does so by itself.
-- Runs with its owner's rights, so that a writer needs no right to create tables.
CREATE FUNCTION ensure_chunks(series text, from_time timestamptz, to_time timestamptz)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    day date := (from_time AT TIME ZONE 'UTC')::date;
    last_day date := (to_time AT TIME ZONE 'UTC')::date;
    part text;
    made integer := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = to_regclass(series)) THEN
        RETURN 0;
    END IF;
    IF last_day - day > 400 THEN
        RAISE EXCEPTION 'refusing to make % partitions of %', last_day - day, series;
    END IF;
    WHILE day <= last_day LOOP
        part := format('%s_p%s', series, to_char(day, 'YYYYMMDD'));
        IF to_regclass(part) IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtext('ensure_chunks'));
            EXECUTE format(
                'CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                part, series, day::timestamp AT TIME ZONE 'UTC',
                (day + 1)::timestamp AT TIME ZONE 'UTC');
            made := made + 1;
        END IF;
        day := day + 1;
    END LOOP;
    RETURN made;
END
$$;

-- Drops what lies wholly before `cutoff`; returns how many chunks or partitions went.
CREATE FUNCTION drop_chunks_before(series text, cutoff timestamptz)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    part record;
    dropped integer := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = to_regclass(series)) THEN
        SELECT count(*) INTO dropped FROM drop_chunks(to_regclass(series), older_than => cutoff);
        RETURN dropped;
    END IF;
    FOR part IN
        SELECT child.oid::regclass AS name,
               substring(child.relname FROM '_p(\d{8})$') AS day
        FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
        WHERE inhparent = to_regclass(series)
    LOOP
        IF (to_date(part.day, 'YYYYMMDD') + 1)::timestamp AT TIME ZONE 'UTC' <= cutoff THEN
            EXECUTE format('DROP TABLE %s', part.name);
            dropped := dropped + 1;
        END IF;
    END LOOP;
    RETURN dropped;
END
$$;

-- One row a second and bed: features as measured at the bed, joined with who was in it then.
CREATE TABLE feature_frame (
    device_id text NOT NULL,
    boot_id uuid NOT NULL,
    sequence_number bigint NOT NULL,
    time timestamptz NOT NULL,
    start_time_ns bigint NOT NULL,
    monotonic_ns bigint NOT NULL,
    received_time_ns bigint NOT NULL,
    generation_mode text NOT NULL,
    bed_id text,
    pseudonym text,
    age_years smallint,
    problems text[],
    news2_low smallint,
    news2_high smallint,
    heart_rate_per_min real,
    pulse_rate_ppg_per_min real,
    pulse_rate_abp_per_min real,
    spo2_percent real,
    abp_systolic_mmhg real,
    abp_diastolic_mmhg real,
    abp_mean_mmhg real,
    respiration_rate_per_min real,
    temperature_celsius real,
    rr_mean_ms real,
    rr_sdnn_ms real,
    rr_rmssd_ms real,
    rr_irregularity real,
    n_beats real,
    time_since_beat_s real,
    time_since_pulse_s real,
    ppg_amplitude real,
    quality_ecg1 real,
    quality_ecg2 real,
    quality_ppg real,
    quality_abp real,
    quality_resp real,
    probability_sinus_like real,
    probability_af real,
    probability_vt real,
    probability_vf real,
    probability_asystole real,
    probability_paced real,
    probability_noise real,
    n_windows_judged real,
    n_samples_expected real,
    n_samples_missing real,
    decision_latency_ms real,
    model_version real,
    n_alerts_active real,
    stored_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (device_id, time, boot_id, sequence_number)
);
CALL make_time_series('feature_frame');

-- Roll-ups by device, minute, bed and patient, recomputed from the frames whenever late ones come.
-- Array elements follow storage.ROLLUP_FEATURES; NULL where nothing was measured.
CREATE TABLE feature_rollup (
    device_id text NOT NULL,
    time timestamptz NOT NULL,
    bed_id text NOT NULL,
    pseudonym text NOT NULL,
    n_frames integer NOT NULL,
    minimum real[] NOT NULL,
    mean real[] NOT NULL,
    maximum real[] NOT NULL,
    n_values smallint[] NOT NULL,
    news2_low smallint,
    news2_high smallint,
    PRIMARY KEY (device_id, time, bed_id, pseudonym)
);
COMMENT ON COLUMN feature_rollup.pseudonym IS 'empty where the bed had no known patient; likewise bed_id';
CALL make_time_series('feature_rollup', '7 days');

-- Buckets whose roll-up is due: marked in the transaction that writes frames into them.
CREATE TABLE rollup_due (
    device_id text NOT NULL,
    time timestamptz NOT NULL,
    marked_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, time)
);

-- What the edge gave up, and what was refused although it had a number.
CREATE TABLE frame_gap (
    device_id text NOT NULL,
    boot_id uuid NOT NULL,
    lane text NOT NULL,
    first_sequence_number bigint NOT NULL,
    last_sequence_number bigint NOT NULL,
    reason text NOT NULL,
    stored_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, boot_id, lane, first_sequence_number, last_sequence_number)
);

-- The end of the first run of numbers, -1 while 0 is missing.
CREATE FUNCTION contiguous_end(handled int8multirange) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN NOT handled @> 0::bigint THEN -1
        ELSE (SELECT upper(run) - 1 FROM unnest(handled) AS run WHERE run @> 0::bigint) END
$$;

CREATE TABLE commit_watermark (
    device_id text NOT NULL,
    boot_id uuid NOT NULL,
    lane text NOT NULL CHECK (lane IN ('alert', 'frame', 'strip')),
    handled int8multirange NOT NULL,
    sequence_number bigint NOT NULL GENERATED ALWAYS AS (contiguous_end(handled)) STORED,
    updated_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, boot_id, lane)
) WITH (fillfactor = 50);
COMMENT ON COLUMN commit_watermark.handled IS 'every number that is stored or known to be lost';

CREATE FUNCTION commit_handled(device text, boot uuid, of_lane text, added int8multirange)
RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO commit_watermark AS held (device_id, boot_id, lane, handled)
    VALUES (device, boot, of_lane, added)
    ON CONFLICT (device_id, boot_id, lane)
        DO UPDATE SET handled = held.handled + excluded.handled, updated_time = now()
    RETURNING sequence_number
$$;

-- Context with history. Every change takes the next version, one at a time; a writer of frames
-- holds the version row shared until it commits, so no row is joined with a context that changed
-- under it.
CREATE TABLE context_version (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    version bigint NOT NULL
);
INSERT INTO context_version (version) VALUES (0);

-- In which bed each life of a device stands (an agent does not change beds while it runs).
CREATE TABLE device_bed (
    device_id text NOT NULL,
    boot_id uuid NOT NULL,
    bed_id text NOT NULL,
    unit_id text NOT NULL,
    site_id text NOT NULL,
    change_number bigint NOT NULL,
    stored_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, boot_id)
);
CREATE INDEX device_bed_by_bed ON device_bed (bed_id);
CREATE INDEX device_bed_by_change ON device_bed (change_number);

-- Who is in which bed from when on; pseudonym NULL: nobody.
CREATE TABLE bed_assignment (
    event_id text PRIMARY KEY,
    bed_id text NOT NULL,
    pseudonym text,
    effective_time timestamptz NOT NULL,
    effective_time_ns bigint NOT NULL,
    recorded_time_ns bigint NOT NULL,
    change_number bigint NOT NULL,
    stored_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX bed_assignment_by_bed ON bed_assignment (bed_id, effective_time_ns);
CREATE INDEX bed_assignment_by_change ON bed_assignment (change_number);

-- What is known of a patient from when on. `context` is a wardstream.contracts.record.PatientContext.
CREATE TABLE patient_context (
    event_id text PRIMARY KEY,
    pseudonym text NOT NULL,
    effective_time timestamptz NOT NULL,
    effective_time_ns bigint NOT NULL,
    recorded_time_ns bigint NOT NULL,
    context jsonb NOT NULL,
    change_number bigint NOT NULL,
    stored_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX patient_context_by_patient ON patient_context (pseudonym, effective_time_ns);
CREATE INDEX patient_context_by_change ON patient_context (change_number);

-- Stored rows that a change of context reaches back to; they are joined again.
CREATE TABLE restatement_due (
    change_number bigint PRIMARY KEY,
    bed_id text NOT NULL,
    device_id text, -- set: only this device's life
    boot_id uuid,
    from_time timestamptz NOT NULL
);

-- Messages that broke a contract, whole.
CREATE TABLE dead_letter (
    letter_id uuid PRIMARY KEY,
    origin text NOT NULL,
    device_id text NOT NULL,
    reason text NOT NULL,
    payload bytea NOT NULL,
    received_time timestamptz NOT NULL,
    received_time_ns bigint NOT NULL,
    stored_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dead_letter_by_time ON dead_letter (received_time);

-- Housekeeping that any server can do; the stream worker calls it, a site may from cron.
CREATE FUNCTION maintain_store(
    moment timestamptz, keep_frames interval, keep_rollups interval, keep_letters interval
) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    letters integer;
BEGIN
    DELETE FROM dead_letter WHERE received_time < moment - keep_letters;
    GET DIAGNOSTICS letters = ROW_COUNT;
    DELETE FROM commit_watermark WHERE updated_time < moment - keep_frames;
    RETURN jsonb_build_object(
        'chunks_made', ensure_chunks('feature_frame', moment, moment + interval '3 days')
            + ensure_chunks('feature_rollup', moment, moment + interval '3 days'),
        'frame_chunks_dropped', drop_chunks_before('feature_frame', moment - keep_frames),
        'rollup_chunks_dropped', drop_chunks_before('feature_rollup', moment - keep_rollups),
        'dead_letters_deleted', letters);
END
$$;
