-- What a device acquires and does not judge: [{"channel", "reason", "count"}], the most frequent first.
ALTER TABLE device ADD COLUMN quarantined jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN device.quarantined IS 'channels and kinds of messages that are refused, as the device last said';
