-- Rows of keyed digests stand in the log's order, without an index of the digests: decision 0038. The one
-- process that writes keeps digests apart, and finds rows by them; verify looks for two of one.

CREATE TABLE subjects (
  subject INTEGER PRIMARY KEY,
  handle BLOB NOT NULL,
  wrapped BLOB NOT NULL,
  digest BLOB NOT NULL
) STRICT;
INSERT INTO subjects SELECT subject, handle, wrapped, digest FROM subject_key ORDER BY subject;
DROP TABLE subject_key;
ALTER TABLE subjects RENAME TO subject_key;

CREATE TABLE requests (
  key BLOB NOT NULL,
  seq INTEGER PRIMARY KEY
) STRICT;
INSERT INTO requests SELECT key, seq FROM idempotency ORDER BY seq;
DROP TABLE idempotency;
ALTER TABLE requests RENAME TO idempotency;

CREATE TRIGGER subject_key_no_delete BEFORE DELETE ON subject_key
BEGIN SELECT RAISE(ABORT, 'subject_key is append-only'); END;

CREATE TRIGGER idempotency_no_delete BEFORE DELETE ON idempotency
BEGIN SELECT RAISE(ABORT, 'idempotency is append-only'); END;

CREATE TRIGGER idempotency_no_update BEFORE UPDATE ON idempotency
BEGIN SELECT RAISE(ABORT, 'idempotency is append-only'); END;

-- A new master key rewraps subject keys: wrapped and digest may change, whose they are not.
CREATE TRIGGER subject_key_no_update BEFORE UPDATE ON subject_key
WHEN NOT (NEW.subject = OLD.subject AND (NEW.handle = OLD.handle OR NEW.wrapped = zeroblob(60) AND NOT EXISTS (SELECT 1 FROM record_key WHERE record_key.subject = OLD.subject
  AND NOT EXISTS (SELECT 1 FROM erased WHERE erased.seq = record_key.seq))))
BEGIN SELECT RAISE(ABORT, 'subject_key is append-only'); END;
