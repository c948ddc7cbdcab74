-- The log's tables, and triggers that refuse to change what was written. Tables have the columns of
-- the SQLite store, in the same order; see there for what they mean.

CREATE TABLE entry (
  seq bigint PRIMARY KEY,
  id text COLLATE "C" NOT NULL UNIQUE,
  leaf bytea NOT NULL,
  leaf_hash bytea NOT NULL
);
CREATE TABLE payload (
  seq bigint PRIMARY KEY,
  envelope bytea NOT NULL
);
CREATE TABLE record_key (
  seq bigint PRIMARY KEY,
  subject bigint NOT NULL,
  wrapped bytea NOT NULL
);
CREATE INDEX record_key_subject ON record_key (subject);
CREATE TABLE subject_key (
  subject bigint PRIMARY KEY,
  handle bytea NOT NULL UNIQUE,
  wrapped bytea NOT NULL,
  digest bytea NOT NULL
);
CREATE TABLE idempotency (
  key bytea PRIMARY KEY,
  seq bigint NOT NULL
);
CREATE TABLE erased (
  seq bigint PRIMARY KEY,
  erasure bigint NOT NULL,
  subject bigint NOT NULL
);
-- By which a process learns that another one has erased something.
CREATE INDEX erased_erasure ON erased (erasure);
CREATE TABLE tile (
  level bigint NOT NULL,
  position bigint NOT NULL,
  root bytea NOT NULL,
  hashes bytea NOT NULL,
  PRIMARY KEY (level, position)
);
CREATE TABLE checkpoint (
  size bigint PRIMARY KEY,
  note bytea NOT NULL
);
CREATE TABLE head (
  one bigint PRIMARY KEY CHECK (one = 1),
  size bigint NOT NULL,
  frontier bytea NOT NULL,
  root bytea NOT NULL
);
INSERT INTO head VALUES
  (1, 0, '', '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');

-- Ciphertext and hashes do not compress, and are small enough to stand in the row.
ALTER TABLE payload ALTER envelope SET STORAGE EXTERNAL;
ALTER TABLE payload SET (toast_tuple_target = 8160);
ALTER TABLE tile ALTER hashes SET STORAGE EXTERNAL;

-- What was written cannot be changed. The triggers hold for the tables' owner too. They are a speed
-- bump against accidents; the evidence is in signed checkpoints held elsewhere.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER entry_no_change BEFORE UPDATE OR DELETE ON entry
  FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER idempotency_no_change BEFORE UPDATE OR DELETE ON idempotency
  FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER erased_no_change BEFORE UPDATE OR DELETE ON erased
  FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER tile_no_change BEFORE UPDATE OR DELETE ON tile
  FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER checkpoint_no_change BEFORE UPDATE OR DELETE ON checkpoint
  FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER payload_no_delete BEFORE DELETE ON payload
  FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER record_key_no_delete BEFORE DELETE ON record_key
  FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER subject_key_no_delete BEFORE DELETE ON subject_key
  FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER head_no_delete BEFORE DELETE ON head
  FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER head_only_grows BEFORE UPDATE ON head
  FOR EACH ROW WHEN (NEW.size <= OLD.size OR NEW.one <> OLD.one) EXECUTE FUNCTION refuse();

CREATE TRIGGER entry_no_truncate BEFORE TRUNCATE ON entry EXECUTE FUNCTION refuse();
CREATE TRIGGER payload_no_truncate BEFORE TRUNCATE ON payload EXECUTE FUNCTION refuse();
CREATE TRIGGER record_key_no_truncate BEFORE TRUNCATE ON record_key EXECUTE FUNCTION refuse();
CREATE TRIGGER subject_key_no_truncate BEFORE TRUNCATE ON subject_key EXECUTE FUNCTION refuse();
CREATE TRIGGER idempotency_no_truncate BEFORE TRUNCATE ON idempotency EXECUTE FUNCTION refuse();
CREATE TRIGGER erased_no_truncate BEFORE TRUNCATE ON erased EXECUTE FUNCTION refuse();
CREATE TRIGGER tile_no_truncate BEFORE TRUNCATE ON tile EXECUTE FUNCTION refuse();
CREATE TRIGGER checkpoint_no_truncate BEFORE TRUNCATE ON checkpoint EXECUTE FUNCTION refuse();
CREATE TRIGGER head_no_truncate BEFORE TRUNCATE ON head EXECUTE FUNCTION refuse();

-- Erasing overwrites with zeros of the same length and deletes no row, as in the SQLite store, so
-- that both verify alike. Here the old version of the row stays in the file until VACUUM.
CREATE FUNCTION zeros(length integer) RETURNS bytea LANGUAGE sql IMMUTABLE
  RETURN decode(repeat('00', length), 'hex');

CREATE FUNCTION only_erase_payload() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.seq = OLD.seq AND NEW.envelope = zeros(length(OLD.envelope))
     AND EXISTS (SELECT FROM erased WHERE erased.seq = OLD.seq) THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'payload is append-only' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER payload_no_update BEFORE UPDATE ON payload
  FOR EACH ROW EXECUTE FUNCTION only_erase_payload();

CREATE FUNCTION only_erase_record_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.seq = OLD.seq AND NEW.subject = OLD.subject AND NEW.wrapped = zeros(72)
     AND EXISTS (SELECT FROM erased WHERE erased.seq = OLD.seq) THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'record_key is append-only' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER record_key_no_update BEFORE UPDATE ON record_key
  FOR EACH ROW EXECUTE FUNCTION only_erase_record_key();

-- A new master key rewraps subject keys: wrapped and digest may change, whose they are not.
CREATE FUNCTION only_erase_subject_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.subject = OLD.subject AND (NEW.handle = OLD.handle OR NEW.wrapped = zeros(60)
     AND NOT EXISTS (SELECT FROM record_key WHERE record_key.subject = OLD.subject
       AND NOT EXISTS (SELECT FROM erased WHERE erased.seq = record_key.seq))) THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'subject_key is append-only' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER subject_key_no_update BEFORE UPDATE ON subject_key
  FOR EACH ROW EXECUTE FUNCTION only_erase_subject_key();

-- The two updates that the service needs. Its role may call these functions and has no right to
-- UPDATE or DELETE anything. They run with their owner's rights, so their search_path is fixed.
CREATE FUNCTION advance_head(
  old_size bigint, old_root bytea, new_size bigint, new_frontier bytea, new_root bytea
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = grounds, pg_temp AS $$
BEGIN
  UPDATE head SET size = new_size, frontier = new_frontier, root = new_root
    WHERE size = old_size AND root = old_root;
  RETURN FOUND;
END $$;

CREATE FUNCTION erase(
  seqs bigint[], erasures bigint[], subjects bigint[],
  emptied bigint[], handles bytea[], digests bytea[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = grounds, pg_temp AS $$
BEGIN
  INSERT INTO erased SELECT * FROM unnest(seqs, erasures, subjects);
  UPDATE payload SET envelope = zeros(length(envelope)) WHERE seq = ANY (seqs);
  UPDATE record_key SET wrapped = zeros(length(wrapped)) WHERE seq = ANY (seqs);
  UPDATE subject_key SET handle = new.handle, wrapped = zeros(60), digest = new.digest
    FROM unnest(emptied, handles, digests) AS new (subject, handle, digest)
    WHERE subject_key.subject = new.subject
      AND NOT EXISTS (SELECT FROM record_key WHERE record_key.subject = new.subject
        AND NOT EXISTS (SELECT FROM erased WHERE erased.seq = record_key.seq));
END $$;

REVOKE ALL ON FUNCTION advance_head, erase FROM PUBLIC;
