"""A trigger of somebody else's, which refuses what the reconciler writes now and then."""

from __future__ import annotations

#: One row in this many is refused for good, each time with another code; the others one time in
#: twenty.
REFUSED = 13
CAUSE = "refused by a trigger of the soak"
#: Of the kinds there are: the row's own fault, a team's own codes, a lock, a time limit, a bug in
#: an extension, a right that is missing, a corrupted page.
CODES = (
    *("22001", "23514", "P0001", "P0004", "45000", "TI001", "0A000", "38000", "39000", "42501"),
    *("42883", "54000", "55000", "XX000", "XX001"),
)
#: Those that say of themselves that they pass: a row that gets one of them may also be a lost race.
PASSING = ("40001", "40P01", "55P03", "57014")

INSTALL = f"""
    CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE codes text[] := '{{{",".join(CODES)}}}';
    BEGIN
        IF current_setting('application_name') <> 'reconciler' THEN
            RETURN new;
        END IF;
        IF old.id % {REFUSED} <> 0 THEN
            codes := codes || '{{{",".join(PASSING)}}}'::text[];
        END IF;
        IF old.id % {REFUSED} = 0 OR random() < 0.05 THEN
            RAISE EXCEPTION '{CAUSE}'
                USING ERRCODE = codes[1 + floor(random() * cardinality(codes))];
        END IF;
        RETURN new;
    END $$;
    CREATE TRIGGER refuses BEFORE UPDATE ON workflow_executions
        FOR EACH ROW EXECUTE FUNCTION refuses();
"""


def is_refused(row_id: int) -> bool:
    """Whether no pass will ever be let write this row."""
    return row_id % REFUSED == 0
