-- The lock is waited for by a statement of its own: drafts that came meanwhile are known before what is
-- stored is looked at.
DROP FUNCTION begin_appending;
