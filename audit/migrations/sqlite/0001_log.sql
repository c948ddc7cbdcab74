-- The log's tables, and triggers that refuse to change what was written.

-- seq is the leaf's index; id is the record's, in time order, so that its index grows at one end.
CREATE TABLE entry (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  leaf BLOB NOT NULL,
  leaf_hash BLOB NOT NULL
) STRICT;

CREATE TABLE payload (
  seq INTEGER PRIMARY KEY,
  envelope BLOB NOT NULL
) STRICT;

CREATE TABLE record_key (
  seq INTEGER PRIMARY KEY,
  subject INTEGER NOT NULL,
  wrapped BLOB NOT NULL
) STRICT;

-- subject is the seq of the subject's first record: never reused, and says nothing about them.
CREATE TABLE subject_key (
  subject INTEGER PRIMARY KEY,
  handle BLOB NOT NULL UNIQUE,
  wrapped BLOB NOT NULL,
  digest BLOB NOT NULL
) STRICT;

CREATE TABLE idempotency (
  key BLOB NOT NULL PRIMARY KEY,
  seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- subject repeats record_key's: the leaf cannot vouch for that row once its key is gone.
CREATE TABLE erased (
  seq INTEGER PRIMARY KEY,
  erasure INTEGER NOT NULL,
  subject INTEGER NOT NULL
) STRICT;

-- root stands before hashes: the row overflows its page, and roots are read without the rest.
CREATE TABLE tile (
  level INTEGER NOT NULL,
  position INTEGER NOT NULL,
  root BLOB NOT NULL,
  hashes BLOB NOT NULL,
  PRIMARY KEY (level, position)
) STRICT;

CREATE TABLE checkpoint (
  size INTEGER PRIMARY KEY,
  note BLOB NOT NULL
) STRICT;

CREATE TABLE head (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  size INTEGER NOT NULL,
  frontier BLOB NOT NULL,
  root BLOB NOT NULL
) STRICT;

CREATE INDEX record_key_subject ON record_key (subject);

-- What was written cannot be changed. These triggers are a speed bump against accidents; the evidence
-- is in signed checkpoints held elsewhere.
CREATE TRIGGER entry_no_delete BEFORE DELETE ON entry
BEGIN SELECT RAISE(ABORT, 'entry is append-only'); END;

CREATE TRIGGER payload_no_delete BEFORE DELETE ON payload
BEGIN SELECT RAISE(ABORT, 'payload is append-only'); END;

CREATE TRIGGER record_key_no_delete BEFORE DELETE ON record_key
BEGIN SELECT RAISE(ABORT, 'record_key is append-only'); END;

CREATE TRIGGER subject_key_no_delete BEFORE DELETE ON subject_key
BEGIN SELECT RAISE(ABORT, 'subject_key is append-only'); END;

CREATE TRIGGER idempotency_no_delete BEFORE DELETE ON idempotency
BEGIN SELECT RAISE(ABORT, 'idempotency is append-only'); END;

CREATE TRIGGER erased_no_delete BEFORE DELETE ON erased
BEGIN SELECT RAISE(ABORT, 'erased is append-only'); END;

CREATE TRIGGER tile_no_delete BEFORE DELETE ON tile
BEGIN SELECT RAISE(ABORT, 'tile is append-only'); END;

CREATE TRIGGER checkpoint_no_delete BEFORE DELETE ON checkpoint
BEGIN SELECT RAISE(ABORT, 'checkpoint is append-only'); END;

CREATE TRIGGER head_no_delete BEFORE DELETE ON head
BEGIN SELECT RAISE(ABORT, 'head is append-only'); END;

CREATE TRIGGER entry_no_update BEFORE UPDATE ON entry
BEGIN SELECT RAISE(ABORT, 'entry is append-only'); END;

CREATE TRIGGER idempotency_no_update BEFORE UPDATE ON idempotency
BEGIN SELECT RAISE(ABORT, 'idempotency is append-only'); END;

CREATE TRIGGER erased_no_update BEFORE UPDATE ON erased
BEGIN SELECT RAISE(ABORT, 'erased is append-only'); END;

CREATE TRIGGER tile_no_update BEFORE UPDATE ON tile
BEGIN SELECT RAISE(ABORT, 'tile is append-only'); END;

CREATE TRIGGER checkpoint_no_update BEFORE UPDATE ON checkpoint
BEGIN SELECT RAISE(ABORT, 'checkpoint is append-only'); END;

-- Erasing overwrites with zeros of the same length and deletes no row. SQLite then writes in place,
-- whereas deleting rows makes it move their neighbours between pages, and the neighbours' old bytes
-- stay behind, secure_delete or not, where their own erasure never reaches.
CREATE TRIGGER payload_no_update BEFORE UPDATE ON payload
WHEN NOT (EXISTS (SELECT 1 FROM erased WHERE erased.seq = OLD.seq) AND NEW.seq = OLD.seq AND NEW.envelope = zeroblob(length(OLD.envelope)))
BEGIN SELECT RAISE(ABORT, 'payload is append-only'); END;

CREATE TRIGGER record_key_no_update BEFORE UPDATE ON record_key
WHEN NOT (EXISTS (SELECT 1 FROM erased WHERE erased.seq = OLD.seq) AND NEW.seq = OLD.seq AND NEW.subject = OLD.subject AND NEW.wrapped = zeroblob(72))
BEGIN SELECT RAISE(ABORT, 'record_key is append-only'); END;

-- A new master key rewraps subject keys: wrapped and digest may change, whose they are not.
CREATE TRIGGER subject_key_no_update BEFORE UPDATE ON subject_key
WHEN NOT (NEW.subject = OLD.subject AND (NEW.handle = OLD.handle OR NEW.wrapped = zeroblob(60) AND NOT EXISTS (SELECT 1 FROM record_key WHERE record_key.subject = OLD.subject
  AND NOT EXISTS (SELECT 1 FROM erased WHERE erased.seq = record_key.seq))))
BEGIN SELECT RAISE(ABORT, 'subject_key is append-only'); END;

INSERT INTO head VALUES (1, 0, x'', x'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
