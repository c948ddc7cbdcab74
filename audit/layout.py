"""Names of the files in a log's directory."""

DATABASE_FILE = "log.sqlite3"
CHECKPOINT_FILE = "checkpoint"
CHECKPOINT_COUNT_FILE = "checkpoint.count"
LOCK_FILE = "lock"
KEYS_DIRECTORY = "keys"
