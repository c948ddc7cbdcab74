-- One call begins to append: it waits for the lock, and then reads what others have appended. Each
-- query of a VOLATILE function sees what was committed before that query: so these see all that was
-- committed before the lock was had, which one statement with the lock in it would not.
CREATE FUNCTION begin_appending(
  locks integer, appending integer, known bigint, most bigint, wanted bytea[]
) RETURNS TABLE (
  head_size bigint, head_frontier bytea, head_root bytea, any_erased boolean, leaf_hashes bytea[],
  subjects bigint[], handles bytea[], wrapped_keys bytea[], digests bytea[]
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(locks, appending);
  RETURN QUERY SELECT size, frontier, root,
    EXISTS (SELECT FROM erased WHERE erasure >= known),
    ARRAY(SELECT leaf_hash FROM entry
          WHERE seq >= known AND seq < size AND size - known <= most ORDER BY seq),
    found.*
    FROM head, (SELECT array_agg(subject), array_agg(handle), array_agg(wrapped), array_agg(digest)
                FROM subject_key WHERE handle = ANY (wanted)) AS found;
END $$;
