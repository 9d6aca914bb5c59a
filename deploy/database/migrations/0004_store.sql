-- Roll-ups of 10 s, 1 min and 15 min in one form on every server, housekeeping of all of them,
-- and what became of each device. On a server with TimescaleDB's community licence the roll-ups
-- are continuous aggregates, compressed and kept by policies; elsewhere tables that the stream
-- worker keeps. Rows of before are kept: a continuous aggregate cannot know of frames that are
-- dropped already, so what was rolled up of those stands beside it and the view shows both.

-- The features a roll-up tells of, in the order of its arrays: storage.ROLLUP_FEATURES.
CREATE FUNCTION rollup_features() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY[
        'heart_rate_per_min', 'pulse_rate_ppg_per_min', 'pulse_rate_abp_per_min', 'spo2_percent',
        'abp_systolic_mmhg', 'abp_diastolic_mmhg', 'abp_mean_mmhg', 'respiration_rate_per_min',
        'temperature_celsius', 'rr_mean_ms', 'rr_sdnn_ms', 'rr_rmssd_ms', 'rr_irregularity',
        'n_beats', 'time_since_beat_s', 'time_since_pulse_s', 'ppg_amplitude', 'quality_ecg1',
        'quality_ecg2', 'quality_ppg', 'quality_abp', 'quality_resp', 'probability_sinus_like',
        'probability_af', 'probability_vt', 'probability_vf', 'probability_asystole',
        'probability_paced', 'probability_noise', 'n_windows_judged', 'n_samples_expected',
        'n_samples_missing', 'decision_latency_ms', 'model_version', 'n_alerts_active']
$$;

-- feature_rollup of 0001 is the one of a minute.
CREATE TABLE feature_rollup_10s (
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
CREATE TABLE feature_rollup_15m (
    LIKE feature_rollup_10s INCLUDING ALL
);
CALL make_time_series('feature_rollup_10s', '1 day');
CALL make_time_series('feature_rollup_15m', '28 days');

-- Buckets of 15 min whose minutes changed; done once the bucket is likely complete.
CREATE TABLE rollup_due_15m (
    device_id text NOT NULL,
    time timestamptz NOT NULL,
    marked_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, time)
);
-- What was rolled up before this version has no longer buckets yet; those of 10 s begin now.
INSERT INTO rollup_due_15m (device_id, time, marked_time)
SELECT DISTINCT device_id, date_bin('15 minutes', time, 'epoch'), now() - interval '1 day'
FROM feature_rollup WHERE time >= (SELECT date_trunc('day', min(time), 'UTC') FROM feature_frame);

-- Stretches that continuous aggregates must still be told to compute, which only their own command
-- outside a transaction can: the migration tool does it. Policies reach no further back than frames
-- are sure to be kept, and the day before that is rolled up here.
CREATE TABLE rollup_backfill (
    relation text PRIMARY KEY,
    from_time timestamptz NOT NULL,
    until_time timestamptz NOT NULL
);

-- Whether the server itself keeps the roll-ups: they are views on continuous aggregates. Asked of
-- the catalogue, not of the licence, which may change after this was made.
CREATE FUNCTION rolls_up_by_itself() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT relkind = 'v' FROM pg_class WHERE oid = 'public.feature_rollup'::regclass
$$;

-- Turns the roll-ups into continuous aggregates. The migration calls it where the licence has
-- them; a site whose server got that licence later calls it once. Refused elsewhere by the server.
CREATE PROCEDURE use_continuous_aggregates() LANGUAGE plpgsql AS $$
DECLARE
    level record;
    columns text := 'device_id, time, bed_id, pseudonym, n_frames,'
        ' minimum, mean, maximum, n_values, news2_low, news2_high';
    first_day timestamptz;
    has_older boolean;
BEGIN
    IF rolls_up_by_itself() THEN
        RETURN;
    END IF;
    SELECT date_trunc('day', min(time), 'UTC') INTO first_day FROM feature_frame;
    FOR level IN
        SELECT * FROM (VALUES ('feature_rollup_10s', interval '10 seconds'),
                              ('feature_rollup', interval '1 minute'),
                              ('feature_rollup_15m', interval '15 minutes')) AS v (name, bucket)
    LOOP
        IF first_day IS NOT NULL THEN
            EXECUTE format('DELETE FROM %I WHERE time >= %L', level.name, first_day);
        END IF;
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', level.name) INTO has_older;
        EXECUTE format('ALTER TABLE %I RENAME TO %I', level.name, level.name || '_before');
        EXECUTE format(
            'CREATE MATERIALIZED VIEW %I'
            ' WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS'
            ' SELECT device_id, time_bucket(interval %L, time) AS time,'
            ' coalesce(bed_id, '''') AS bed_id, coalesce(pseudonym, '''') AS pseudonym,'
            ' count(*)::integer AS n_frames, ARRAY[%s] AS minimum, ARRAY[%s] AS mean,'
            ' ARRAY[%s] AS maximum, ARRAY[%s] AS n_values,'
            ' max(news2_low) AS news2_low, max(news2_high) AS news2_high'
            ' FROM feature_frame GROUP BY 1, 2, 3, 4 WITH NO DATA',
            level.name || '_kept', level.bucket,
            (SELECT string_agg(format('min(%I)', f), ', ') FROM unnest(rollup_features()) AS f),
            (SELECT string_agg(format('avg(%I)::real', f), ', ') FROM unnest(rollup_features()) AS f),
            (SELECT string_agg(format('max(%I)', f), ', ') FROM unnest(rollup_features()) AS f),
            (SELECT string_agg(format('count(%I)::smallint', f), ', ') FROM unnest(rollup_features()) AS f));
        EXECUTE format('CREATE VIEW %I AS SELECT %s FROM %I %s UNION ALL SELECT %s FROM %I',
            level.name, columns, level.name || '_kept',
            CASE WHEN has_older THEN format('WHERE time >= %L', first_day) ELSE '' END,
            columns, level.name || '_before');
        IF first_day IS NOT NULL THEN
            INSERT INTO rollup_backfill
            VALUES (level.name || '_kept', first_day, first_day + interval '3 days');
        END IF;
        IF to_regrole('wardstream_reader') IS NOT NULL THEN
            EXECUTE format('GRANT SELECT ON %I TO wardstream_reader', level.name);
        END IF;
        IF to_regrole('wardstream_writer') IS NOT NULL THEN
            EXECUTE format('GRANT SELECT ON %I TO wardstream_writer', level.name);
        END IF;
    END LOOP;
    DELETE FROM rollup_due;
    DELETE FROM rollup_due_15m;
END
$$;

-- How long each time series is kept. A migration that makes one adds its row.
CREATE TABLE kept_series (
    series text PRIMARY KEY,
    kept_as text NOT NULL CHECK (kept_as IN ('frames', 'fine_rollups', 'rollups')),
    compress_by text
);
COMMENT ON COLUMN kept_series.compress_by IS 'columns that compression segments by; NULL: is not compressed';
INSERT INTO kept_series VALUES
    ('feature_frame', 'frames', 'device_id,boot_id'),
    ('feature_rollup_10s', 'fine_rollups', 'device_id,bed_id,pseudonym'),
    ('feature_rollup', 'rollups', 'device_id,bed_id,pseudonym'),
    ('feature_rollup_15m', 'rollups', 'device_id,bed_id,pseudonym');

-- What the policies of the server were last told.
CREATE TABLE store_policy (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    keep_frames interval NOT NULL,
    keep_fine_rollups interval NOT NULL,
    keep_rollups interval NOT NULL,
    compress_after interval NOT NULL
);

-- The relations in which a time series lies, as drop_chunks and policies know them.
CREATE FUNCTION stores_of(series text) RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT name FROM unnest(ARRAY[series || '_kept', series || '_before', series]) AS name
    WHERE to_regclass(name) IS NOT NULL
      AND NOT (name = series AND to_regclass(series || '_kept') IS NOT NULL)
$$;

-- Policies of the community licence: refresh, compress, drop. Repeating it with other periods
-- changes them. A refresh never reaches back to dropped frames, or it would empty what was rolled
-- up of them.
CREATE FUNCTION set_store_policies(
    keep_frames interval, keep_fine_rollups interval, keep_rollups interval, compress_after interval
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    wanted store_policy := (true, keep_frames, keep_fine_rollups, keep_rollups, compress_after);
    told store_policy;
    kept record;
    store text;
    bucket interval;
    keep interval;
    new_words boolean := EXISTS (SELECT FROM pg_proc WHERE proname = 'add_columnstore_policy');
BEGIN
    IF store_tier() <> 'timescale_community' THEN
        RETURN false;
    END IF;
    LOCK TABLE store_policy IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO told FROM store_policy;
    IF told = wanted THEN
        RETURN false;
    END IF;
    FOR kept IN SELECT * FROM kept_series ORDER BY kept_as <> 'fine_rollups', kept_as <> 'rollups' LOOP
        keep := CASE kept.kept_as WHEN 'frames' THEN keep_frames
            WHEN 'fine_rollups' THEN keep_fine_rollups ELSE keep_rollups END;
        FOREACH store IN ARRAY ARRAY(SELECT stores_of(kept.series)) LOOP
            IF store LIKE '%\_kept' THEN
                bucket := CASE kept.series WHEN 'feature_rollup_10s' THEN interval '10 seconds'
                    WHEN 'feature_rollup' THEN interval '1 minute' ELSE interval '15 minutes' END;
                PERFORM remove_continuous_aggregate_policy(store::regclass, if_exists => true);
                PERFORM add_continuous_aggregate_policy(store::regclass, start_offset =>
                    least(keep_frames, keep) - interval '1 hour',
                    end_offset => bucket, schedule_interval => greatest(bucket, interval '1 minute'));
            END IF;
            PERFORM remove_retention_policy(store::regclass, if_exists => true);
            PERFORM add_retention_policy(store::regclass, drop_after => keep);
            IF kept.compress_by IS NOT NULL AND store NOT LIKE '%\_before' THEN
                PERFORM set_compression(store, kept.compress_by,
                    CASE WHEN store LIKE '%\_kept' THEN greatest(compress_after, keep_frames)
                        ELSE compress_after END, new_words);
            END IF;
        END LOOP;
    END LOOP;
    INSERT INTO store_policy SELECT wanted.*
    ON CONFLICT (singleton) DO UPDATE SET keep_frames = excluded.keep_frames,
        keep_fine_rollups = excluded.keep_fine_rollups, keep_rollups = excluded.keep_rollups,
        compress_after = excluded.compress_after;
    RETURN true;
END
$$;

-- Compression by its names of before 2.18, or as columnstore.
CREATE FUNCTION set_compression(store text, compress_by text, compress_after interval, new_words boolean)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    kind text := CASE WHEN store LIKE '%\_kept' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END;
    has_number boolean := EXISTS (SELECT FROM pg_attribute
        WHERE attrelid = store::regclass AND attname = 'sequence_number' AND NOT attisdropped);
    sorted text := 'time DESC' || CASE WHEN has_number THEN ',sequence_number DESC' ELSE '' END;
BEGIN
    IF new_words THEN
        EXECUTE format('ALTER %s %I SET (timescaledb.enable_columnstore = true,'
            ' timescaledb.segmentby = %L, timescaledb.orderby = %L)', kind, store, compress_by, sorted);
        EXECUTE format('CALL remove_columnstore_policy(%L::regclass, if_exists => true)', store);
        EXECUTE format('CALL add_columnstore_policy(%L::regclass, after => %L::interval)', store, compress_after);
    ELSE
        EXECUTE format('ALTER %s %I SET (timescaledb.compress = true,'
            ' timescaledb.compress_segmentby = %L, timescaledb.compress_orderby = %L)',
            kind, store, compress_by, sorted);
        EXECUTE format('SELECT remove_compression_policy(%L::regclass, if_exists => true)', store);
        EXECUTE format('SELECT add_compression_policy(%L::regclass, compress_after => %L::interval)', store, compress_after);
    END IF;
END
$$;

-- What became of each device, in order: a row whenever what it says of itself changes.
CREATE TABLE device_change (
    device_id text NOT NULL,
    changed_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    change_id bigint GENERATED ALWAYS AS IDENTITY,
    boot_id uuid NOT NULL,
    site_id text NOT NULL,
    unit_id text NOT NULL,
    bed_id text NOT NULL,
    connectivity text NOT NULL,
    silent boolean NOT NULL,
    generation_mode text NOT NULL,
    source text NOT NULL,
    agent_version text NOT NULL,
    model_state text NOT NULL,
    model_version integer NOT NULL,
    reported_time_ns bigint NOT NULL,
    PRIMARY KEY (device_id, changed_time, change_id)
);
CREATE INDEX device_change_by_time ON device_change (changed_time);

CREATE FUNCTION note_device_change() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO device_change (device_id, boot_id, site_id, unit_id, bed_id, connectivity, silent,
        generation_mode, source, agent_version, model_state, model_version, reported_time_ns)
    VALUES (NEW.device_id, NEW.boot_id, NEW.site_id, NEW.unit_id, NEW.bed_id, NEW.connectivity,
        NEW.silent, NEW.generation_mode, NEW.source, NEW.agent_version, NEW.model_state,
        NEW.model_version, NEW.reported_time_ns);
    RETURN NULL;
END
$$;
CREATE TRIGGER device_is_new AFTER INSERT ON device
    FOR EACH ROW EXECUTE FUNCTION note_device_change();
CREATE TRIGGER device_has_changed AFTER UPDATE ON device
    FOR EACH ROW WHEN (
        (OLD.boot_id, OLD.site_id, OLD.unit_id, OLD.bed_id, OLD.connectivity, OLD.silent,
         OLD.generation_mode, OLD.source, OLD.agent_version, OLD.model_state, OLD.model_version)
        IS DISTINCT FROM
        (NEW.boot_id, NEW.site_id, NEW.unit_id, NEW.bed_id, NEW.connectivity, NEW.silent,
         NEW.generation_mode, NEW.source, NEW.agent_version, NEW.model_state, NEW.model_version))
    EXECUTE FUNCTION note_device_change();
INSERT INTO device_change (device_id, changed_time, boot_id, site_id, unit_id, bed_id, connectivity,
    silent, generation_mode, source, agent_version, model_state, model_version, reported_time_ns)
SELECT device_id, to_timestamp(reported_time_ns / 1e9), boot_id, site_id, unit_id, bed_id,
    connectivity, silent, generation_mode, source, agent_version, model_state, model_version,
    reported_time_ns
FROM device;

-- Housekeeping that any server can do; the stream worker calls it, a site may from cron. Workers
-- of before call it with four periods and get the rest as it is by default.
DROP FUNCTION maintain_store(timestamptz, interval, interval, interval);
CREATE FUNCTION maintain_store(
    moment timestamptz, keep_frames interval, keep_rollups interval, keep_letters interval,
    keep_fine_rollups interval DEFAULT NULL, compress_after interval DEFAULT '7 days'
) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    fine interval := coalesce(keep_fine_rollups, least(greatest(keep_frames, interval '90 days'), keep_rollups));
    kept record;
    part text;
    letters integer;
    made integer := 0;
    dropped jsonb := '{}';
    n integer;
BEGIN
    -- A drop takes the strongest lock there is, and a refresh may hold the chunk for long.
    PERFORM set_store_policies(keep_frames, fine, keep_rollups, compress_after);
    DELETE FROM dead_letter WHERE received_time < moment - keep_letters;
    GET DIAGNOSTICS letters = ROW_COUNT;
    DELETE FROM commit_watermark WHERE updated_time < moment - keep_frames;
    DELETE FROM device_change WHERE changed_time < moment - keep_rollups;
    FOR kept IN SELECT * FROM kept_series LOOP
        made := made + ensure_chunks(kept.series, moment, moment + interval '3 days');
        FOREACH part IN ARRAY ARRAY(SELECT stores_of(kept.series)) LOOP
            n := drop_chunks_before(part, moment - CASE kept.kept_as WHEN 'frames' THEN keep_frames
                WHEN 'fine_rollups' THEN fine ELSE keep_rollups END);
            dropped := dropped || jsonb_build_object(part, n);
        END LOOP;
    END LOOP;
    RETURN jsonb_build_object('chunks_made', made, 'chunks_dropped', dropped,
        'dead_letters_deleted', letters);
END
$$;

DO $$
BEGIN
    IF store_tier() = 'timescale_community' THEN
        CALL use_continuous_aggregates();
    END IF;
END
$$;
