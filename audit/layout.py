"""Names of the files in a log's directory."""

DATABASE_FILE = "log.sqlite3"
CHECKPOINT_FILE = "checkpoint"
LOCK_FILE = "lock"
KEYS_DIRECTORY = "keys"
