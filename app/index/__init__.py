"""The index of decisions: what lists need, derived from the log, and rebuilt from it at any time."""
