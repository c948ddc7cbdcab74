"""The SQLite schema, one version, with triggers that refuse to change what was written.

The triggers are a speed bump against accidents; the evidence is in signed checkpoints held
elsewhere. Each statement is kept as text because ``verify`` compares it with what the file holds.
"""

VERSION = 1
APPLICATION_ID = 0x47726E64
"""Marks the file as ours: ``file`` and ``sqlite3`` show it. ASCII "Grnd"."""

_TABLES = {
    # seq is the leaf's index; id is the record's, in time order, so that its index grows at one end
    "entry": """CREATE TABLE entry (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  leaf BLOB NOT NULL,
  leaf_hash BLOB NOT NULL
) STRICT""",
    "payload": """CREATE TABLE payload (
  seq INTEGER PRIMARY KEY,
  envelope BLOB NOT NULL
) STRICT""",
    "record_key": """CREATE TABLE record_key (
  seq INTEGER PRIMARY KEY,
  subject INTEGER NOT NULL,
  wrapped BLOB NOT NULL
) STRICT""",
    # subject is the seq of the subject's first record: never reused, and says nothing about them
    "subject_key": """CREATE TABLE subject_key (
  subject INTEGER PRIMARY KEY,
  handle BLOB NOT NULL UNIQUE,
  wrapped BLOB NOT NULL,
  digest BLOB NOT NULL
) STRICT""",
    "idempotency": """CREATE TABLE idempotency (
  key BLOB NOT NULL PRIMARY KEY,
  seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    # subject repeats record_key's: the leaf cannot vouch for that row once its key is gone
    "erased": """CREATE TABLE erased (
  seq INTEGER PRIMARY KEY,
  erasure INTEGER NOT NULL,
  subject INTEGER NOT NULL
) STRICT""",
    # root stands before hashes: the row overflows its page, and roots are read without the rest
    "tile": """CREATE TABLE tile (
  level INTEGER NOT NULL,
  position INTEGER NOT NULL,
  root BLOB NOT NULL,
  hashes BLOB NOT NULL,
  PRIMARY KEY (level, position)
) STRICT""",
    "checkpoint": """CREATE TABLE checkpoint (
  size INTEGER PRIMARY KEY,
  note BLOB NOT NULL
) STRICT""",
    "head": """CREATE TABLE head (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  size INTEGER NOT NULL,
  frontier BLOB NOT NULL,
  root BLOB NOT NULL
) STRICT""",
}

_INDEXES = {
    "record_key_subject": "CREATE INDEX record_key_subject ON record_key (subject)",
}


def _refuse(table: str, verb: str, unless: str = "") -> tuple[str, str]:
    name = f"{table}_no_{verb.lower()}"
    when = f"\nWHEN NOT ({unless})" if unless else ""
    return name, (
        f"CREATE TRIGGER {name} BEFORE {verb} ON {table}{when}\n"
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    )


# Erasing overwrites with zeros of the same length and deletes no row. SQLite then writes in place,
# whereas deleting rows makes it move their neighbours between pages, and the neighbours' old bytes
# stay behind, secure_delete or not, where their own erasure never reaches.
_ERASED = "EXISTS (SELECT 1 FROM erased WHERE erased.seq = OLD.seq) AND NEW.seq = OLD.seq"
_ALL_ERASED = """NOT EXISTS (SELECT 1 FROM record_key WHERE record_key.subject = OLD.subject
  AND NOT EXISTS (SELECT 1 FROM erased WHERE erased.seq = record_key.seq))"""

_TRIGGERS = dict(
    (
        *(_refuse(table, "DELETE") for table in _TABLES),
        *(
            _refuse(table, "UPDATE")
            for table in ("entry", "idempotency", "erased", "tile", "checkpoint")
        ),
        _refuse(
            "payload", "UPDATE", f"{_ERASED} AND NEW.envelope = zeroblob(length(OLD.envelope))"
        ),
        _refuse(
            "record_key",
            "UPDATE",
            f"{_ERASED} AND NEW.subject = OLD.subject AND NEW.wrapped = zeroblob(72)",
        ),
        # a new master key rewraps subject keys: wrapped and digest may change, whose they are not
        _refuse(
            "subject_key",
            "UPDATE",
            "NEW.subject = OLD.subject AND (NEW.handle = OLD.handle OR"
            f" NEW.wrapped = zeroblob(60) AND {_ALL_ERASED})",
        ),
    )
)

STATEMENTS: dict[str, str] = {**_TABLES, **_INDEXES, **_TRIGGERS}
"""Name of each object -> the statement that makes it, exactly as SQLite stores it."""

TABLES: tuple[str, ...] = tuple(_TABLES)
