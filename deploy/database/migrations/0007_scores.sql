-- What fusion says of each patient every minute, what the record adds to an alert, and whether
-- devices and models still see what they were learned on. Names: wardstream/contracts/storage.py.

-- One row a minute, bed and patient. The scores are as known when the minute was scored; a minute
-- whose frames come late is scored again, later minutes are not.
CREATE TABLE patient_score (
    device_id text NOT NULL,
    time timestamptz NOT NULL,
    bed_id text NOT NULL,
    pseudonym text NOT NULL,
    n_frames integer NOT NULL,
    vitals real[] NOT NULL,
    news2_low smallint NOT NULL,
    news2_high smallint NOT NULL,
    mews_low smallint NOT NULL,
    mews_high smallint NOT NULL,
    qsofa_low smallint NOT NULL,
    qsofa_high smallint NOT NULL,
    shock_index real,
    deterioration real,
    contributions jsonb,
    deterioration_version integer,
    abstained text,
    usual real[],
    usual_low real[],
    usual_high real[],
    trend_per_h real[],
    scored_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, time, bed_id, pseudonym)
);
COMMENT ON COLUMN patient_score.vitals IS 'means of the minute in the order of stream_processors.core.patient_scores.VITALS, NULL where not measured; likewise usual, usual_low, usual_high and trend_per_h';
COMMENT ON COLUMN patient_score.deterioration IS 'calibrated probability; NULL where it abstains, abstained says why';
COMMENT ON COLUMN patient_score.contributions IS 'what moved the log odds most: {quantity: log odds}';
CALL make_time_series('patient_score', '7 days');
CREATE INDEX patient_score_by_patient ON patient_score (pseudonym, time DESC);
INSERT INTO kept_series VALUES ('patient_score', 'rollups', 'device_id,bed_id,pseudonym');

-- Minutes that are due, marked in the transaction that writes frames into them.
CREATE TABLE score_due (
    device_id text NOT NULL,
    time timestamptz NOT NULL,
    marked_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, time)
);

-- What record and other signals say of an alert: beside it, never instead of it.
CREATE TABLE alert_support (
    alert_id uuid PRIMARY KEY,
    verdict text NOT NULL CHECK (verdict IN ('supports', 'contradicts', 'undecided')),
    probability real NOT NULL CHECK (probability BETWEEN 0 AND 1),
    verifier_probability real,
    reasons text[] NOT NULL,
    stored_time timestamptz NOT NULL DEFAULT now()
);

-- Distance of an hour from the reference a model was learned on, by feature; subject is a device
-- or '' for all together.
CREATE TABLE drift_statistic (
    model text NOT NULL,
    model_version integer NOT NULL,
    subject text NOT NULL,
    time timestamptz NOT NULL,
    feature text NOT NULL,
    n_rows integer NOT NULL,
    stability_index real NOT NULL,
    largest_gap real,
    PRIMARY KEY (model, model_version, subject, time, feature)
);
CREATE INDEX drift_statistic_by_time ON drift_statistic (time);
