"""An application's trigger that rejects some of the reconciler's writes."""

from __future__ import annotations

#: Every write to one row in N is rejected, with a random code; every twentieth write to the others.
REJECTED = 13
CAUSE = "refused by a trigger of the soak"
#: SQLSTATEs of each kind: invalid data, an application's own codes, an unsupported feature, a bug
#: in an extension, a missing privilege, a limit, a wrong state, a corrupted page.
CODES = (
    *("22001", "23514", "P0001", "P0004", "45000", "TI001", "0A000", "38000", "39000", "42501"),
    *("42883", "54000", "55000", "XX000", "XX001"),
)
#: Transient ones: a row that gets one of these may also be counted as a lost race.
TRANSIENT = ("40001", "40P01", "55P03", "57014")

INSTALL = f"""
    CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE codes text[] := '{{{",".join(CODES)}}}';
    BEGIN
        IF current_setting('application_name') <> 'reconciler' THEN
            RETURN new;
        END IF;
        IF old.id % {REJECTED} <> 0 THEN
            codes := codes || '{{{",".join(TRANSIENT)}}}'::text[];
        END IF;
        IF old.id % {REJECTED} = 0 OR random() < 0.05 THEN
            RAISE EXCEPTION '{CAUSE}'
                USING ERRCODE = codes[1 + floor(random() * cardinality(codes))];
        END IF;
        RETURN new;
    END $$;
    CREATE TRIGGER refuses BEFORE UPDATE ON workflow_executions
        FOR EACH ROW EXECUTE FUNCTION refuses();
"""


def is_rejected(row_id: int) -> bool:
    """Whether the trigger rejects every write to this row."""
    return row_id % REJECTED == 0
