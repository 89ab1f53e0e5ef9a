-- A claim writes columns only: the story of a claimed job is the one from before the claim, until
-- something else rewrites it. Without claimed_at the story tells everything.
ALTER TABLE ffrtmp.live
    ADD COLUMN claimed_at bigint,
    ADD COLUMN node_name text,
    ADD COLUMN node_before uuid;

-- Makes a statement fail as a whole if it did not find every row as it was seen. Else it says the
-- number of the transaction.
CREATE FUNCTION ffrtmp.all_or_none(done bigint, expected bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    IF done <> expected THEN
        RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'somebody else changed the job first';
    END IF;
    RETURN txid_current();
END $$;
