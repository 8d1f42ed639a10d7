"""The write of a pass: a batch of outcomes, each row a compare-and-set.

```sql
WITH locked     AS (SELECT place, id, old values, given.* FROM workflow_executions
                    JOIN unnest(…) WITH ORDINALITY AS given
                    WHERE status = 'running' AND workflow_id = given.workflow_id
                      AND run_id IS NOT DISTINCT FROM given.run_id
                    FOR NO KEY UPDATE SKIP LOCKED),
     finished   AS (UPDATE workflow_executions SET status, completed_at, error_message FROM locked
                    WHERE the same guard again RETURNING id, new values, locked.*),
     journalled AS (INSERT INTO reconciler.changes SELECT … FROM finished)
SELECT the places finished; if not as expected, also the places locked and the statuses
```
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.postgres.rows.arrays import given_rows
from reconciler.postgres.rows.guarded import Checked, journal_insert, what_was_done
from reconciler.postgres.rows.standing import kept_values, same_run
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.run_row import finish
from reconciler.postgres.table.types import readable

_TIME = sa.DateTime(timezone=True)


def guarded_write(
    table: MappedTable, *, journalled: bool, found_by: str | None = None
) -> sa.Select[Any]:
    """A pass's write: lock the rows that have not changed since they were read, finish, journal.

    `found_by`: how the pass has found them, for the journal.

    The guard is there twice. In `locked` it is evaluated on the newest version of each row, and the
    old values come from there. In `finished` it repeats the promise next to the UPDATE, for readers
    of the code. Rows are identified by their place in the batch: a trigger may change the key, and
    a key may be NaN.

    Each step passes on everything the journal needs. A join at the end would cost five times as
    much: PostgreSQL does not know how few rows a step returns, and compares each with each.
    """
    given = _given(table)
    locked = (
        sa.select(
            table.id.label("id"),
            *labelled("old", table.written()),
            *(column for column in given.c if column.name != "id"),
        )
        .select_from(sa.join(table.table, given, _same_use(table, given)))
        .where(_running_ones(table))
        .with_for_update(key_share=True, skip_locked=True, of=table.table)
        .cte(table.beside("locked"))
    )
    finished = (
        finish(table, locked.c.status, locked.c.close_time, locked.c.message)
        .where(_same_use(table, locked), _still_running(table))
        .returning(
            table.id.label("id"),
            *labelled("new", table.written()),
            *(column for column in locked.c if column.name != "id"),
        )
        .cte(table.beside("finished"))
    )
    journal = _journal(table, finished, found_by) if journalled else None
    checked = None
    if table.relation.has_triggers:
        checked = Checked(sa.cast(finished.c.id, sa.Text), journal)
    query = what_was_done(locked, finished, _index, finished.c.status, checked)
    return query if journal is None else query.add_cte(journal)


def _index(rows: sa.CTE) -> sa.ColumnElement[Any]:
    """The place in the batch, counted from 0 as in Python."""
    return rows.c.place - sa.literal_column("1", sa.BigInteger)


def labelled(
    when: str, values: Mapping[str, sa.ColumnElement[Any]]
) -> Iterator[sa.ColumnElement[Any]]:
    """The values under the journal's names for them: `old_status` and so on."""
    return (value.label(f"{when}_{name}") for name, value in values.items())


def _given(table: MappedTable) -> sa.TableValuedAlias:
    """The outcomes of a batch, as a relation."""
    names = ["workflow_id", "run_id", "status", "message"]
    names += ["evidence", "final_run_id", "workflow_type"]
    if table.namespace is not None:
        names.append("namespace")
    times = ["close_time", *_compared_times(table)]
    return given_rows(table, dict.fromkeys(names, sa.Text()) | dict.fromkeys(times, _TIME))


def _running_ones(table: MappedTable) -> sa.ColumnElement[bool]:
    """That a row is running, and in the batch.

    The join requires the latter too. But with the join alone, each batch reads all running rows of
    a table that was analysed when no row was running, since PostgreSQL expects none.
    """
    given_ids = sa.bindparam("given_id", type_=postgresql.ARRAY(table.id.type))
    return sa.and_(table.is_running, table.id == sa.any_(given_ids))


def _still_running(table: MappedTable) -> sa.ColumnElement[bool]:
    """That a locked row is running.

    In a CASE, PostgreSQL does not estimate how few rows are running, and finds each by its key. A
    comparison with all keys of the batch would take a tenth of the write. The key of a partitioned
    table may have no index but reconciler's, which is on running rows.
    """
    if not table.relation.finds_keys:
        return _running_ones(table)
    return sa.case((table.is_running, True), else_=False)


def _same_use(table: MappedTable, seen: sa.FromClause) -> sa.ColumnElement[bool]:
    """That a row is still of the same run of the same workflow as when it was read.

    Without a run id, only the workflow id distinguishes one use of a row from the next.
    """
    # The equality, which `same_run` implies, lets PostgreSQL use an index on the workflow id. In a
    # partitioned table, whose key may have none, that halves the time of a write.
    same_workflow = table.workflow_id == seen.c.workflow_id
    conditions = [table.id == seen.c.id, same_workflow, same_run(table, seen)]
    if table.namespace is not None:
        namespace = sa.cast(table.namespace, sa.Text)
        conditions.append(namespace.is_not_distinct_from(seen.c.namespace))
    for name, time in _compared_times(table).items():
        conditions.append(readable(time).is_not_distinct_from(seen.c[name]))
    return sa.and_(*conditions)


def _compared_times(table: MappedTable) -> Mapping[str, sa.ColumnElement[Any]]:
    """The times that must be as they were when the row was read."""
    times: dict[str, sa.ColumnElement[Any]] = {}
    if table.may_repeat_keys:
        times["created_at"] = table.created_at
    if table.mapping.names.updated_at is not None:
        times["updated_at"] = table.updated_at
    return times


def _journal(table: MappedTable, finished: sa.CTE, found_by: str | None) -> sa.CTE:
    values: dict[str, sa.ColumnElement[Any]] = {
        "pass_id": sa.bindparam("given_pass_id", type_=sa.Uuid),
        "table_name": sa.literal(table.identity),
        "row_id": sa.cast(finished.c.id, sa.Text),
        "temporal_status": finished.c.evidence,
        "found_by": sa.literal(found_by, sa.Text),
    }
    same = (
        *("workflow_id", "run_id", "old_status", "new_status", "old_completed_at"),
        *("new_completed_at", "old_error_message", "new_error_message"),
        *("final_run_id", "close_time", "workflow_type"),
    )
    values |= {name: finished.c[name] for name in same}
    if "error_message" not in kept_values(table):
        values["new_error_message"] = finished.c.message  # else it would be stored nowhere
    return journal_insert(values, table)
