-- Finding by digest, and by subject, without an index of keyed digests. Digests are random by design:
-- in an index of theirs each new row falls on a page of its own. Now rows keep the order of the log, what is
-- newest is found in the writer's memory, and what is older through the tables below, into which it is
-- moved in large, ordered steps. See docs/decisions/0033-digests-move-in-order.md.

-- Entries from upto on have not been moved yet, or are being moved. sum is the CRC-32 of upto in decimal.
CREATE TABLE lookup_extent (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  upto INTEGER NOT NULL,
  sum INTEGER NOT NULL
) STRICT;

INSERT INTO lookup_extent VALUES (1, 0, 4108050209);

-- A row holds digests from first up to the next row's: see audit/digest_pages.py. It is as long as a page
-- of the file, so that SQLite overwrites it in place and never moves its digests between pages, which
-- would leave copies behind where an erasure does not reach.
CREATE TABLE handle_page (
  first INTEGER PRIMARY KEY,
  entries BLOB NOT NULL
) STRICT;

CREATE TABLE request_page (
  first INTEGER PRIMARY KEY,
  entries BLOB NOT NULL
) STRICT;

-- A subject's records after the first one, which has the subject's number. part is subject % 256.
CREATE TABLE later_record (
  part INTEGER NOT NULL,
  subject INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (part, subject, seq)
) STRICT, WITHOUT ROWID;

DROP INDEX record_key_subject;

-- As before, but handle is not UNIQUE: the writer sees to that.
CREATE TABLE subject_key_in_order (
  subject INTEGER PRIMARY KEY,
  handle BLOB NOT NULL,
  wrapped BLOB NOT NULL,
  digest BLOB NOT NULL
) STRICT;

INSERT INTO subject_key_in_order SELECT subject, handle, wrapped, digest FROM subject_key ORDER BY subject;

DROP TABLE subject_key;

ALTER TABLE subject_key_in_order RENAME TO subject_key;

CREATE TABLE idempotency_in_order (
  seq INTEGER PRIMARY KEY,
  key BLOB NOT NULL
) STRICT;

INSERT INTO idempotency_in_order SELECT seq, key FROM idempotency ORDER BY seq;

DROP TABLE idempotency;

ALTER TABLE idempotency_in_order RENAME TO idempotency;

-- The triggers of the tables made anew.
CREATE TRIGGER subject_key_no_delete BEFORE DELETE ON subject_key
BEGIN SELECT RAISE(ABORT, 'subject_key is append-only'); END;

-- A new master key rewraps subject keys: wrapped and digest may change, whose they are not. The subject's
-- newest records, not moved yet, are the writer's to look at: here that would read a hundred thousand rows.
CREATE TRIGGER subject_key_no_update BEFORE UPDATE ON subject_key
WHEN NOT (NEW.subject = OLD.subject AND (NEW.handle = OLD.handle OR NEW.wrapped = zeroblob(60)
  AND EXISTS (SELECT 1 FROM erased WHERE erased.seq = OLD.subject)
  AND NOT EXISTS (SELECT 1 FROM later_record WHERE later_record.part = OLD.subject % 256 AND later_record.subject = OLD.subject
    AND NOT EXISTS (SELECT 1 FROM erased WHERE erased.seq = later_record.seq))))
BEGIN SELECT RAISE(ABORT, 'subject_key is append-only'); END;

CREATE TRIGGER idempotency_no_delete BEFORE DELETE ON idempotency
BEGIN SELECT RAISE(ABORT, 'idempotency is append-only'); END;

CREATE TRIGGER idempotency_no_update BEFORE UPDATE ON idempotency
BEGIN SELECT RAISE(ABORT, 'idempotency is append-only'); END;

CREATE TRIGGER later_record_no_delete BEFORE DELETE ON later_record
BEGIN SELECT RAISE(ABORT, 'later_record is append-only'); END;

CREATE TRIGGER later_record_no_update BEFORE UPDATE ON later_record
BEGIN SELECT RAISE(ABORT, 'later_record is append-only'); END;

CREATE TRIGGER handle_page_no_delete BEFORE DELETE ON handle_page
BEGIN SELECT RAISE(ABORT, 'handle_page only grows'); END;

CREATE TRIGGER request_page_no_delete BEFORE DELETE ON request_page
BEGIN SELECT RAISE(ABORT, 'request_page only grows'); END;

CREATE TRIGGER lookup_extent_no_delete BEFORE DELETE ON lookup_extent
BEGIN SELECT RAISE(ABORT, 'lookup_extent only grows'); END;
