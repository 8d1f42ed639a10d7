"""The statements that change the application's rows. Every one is a compare-and-set.

`guarded_write` finishes what a pass has judged, a batch at a time and journalled. `own_row_write`
finishes the one row of a workflow that reports its own end.

```sql
WITH locked     AS (SELECT place, id, old values, given.* FROM workflow_executions
                    JOIN unnest(…) WITH ORDINALITY AS given
                    WHERE status = 'running' AND workflow_id = given.workflow_id
                      AND run_id IS NOT DISTINCT FROM given.run_id
                    FOR NO KEY UPDATE SKIP LOCKED),
     finished   AS (UPDATE workflow_executions SET status, completed_at, error_message FROM locked
                    WHERE the same guard again RETURNING id, new values, locked.*),
     journalled AS (INSERT INTO reconciler.changes SELECT … FROM finished)
SELECT the places finished; those locked, and the statuses, if they are not as expected
```
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.postgres.rows.guarded import Checked, noting, what_was_done
from reconciler.postgres.rows.standing import kept_values
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.types import as_stored, readable

_TIME = sa.DateTime(timezone=True)

#: How far apart the clocks of database and Temporal may be, for a row without a run id to be that
#: of a workflow.
SLACK = timedelta(seconds=60)
_SLACK = sa.literal_column(f"interval '{SLACK.total_seconds():.0f} seconds'", sa.Interval)
_STARTED = sa.bindparam("given_latest", type_=_TIME) - _SLACK


def guarded_write(table: MappedTable, *, journalled: bool) -> sa.Select[Any]:
    """A pass's write: lock what is still as it was seen, finish it, journal it.

    The guard stands twice. In `locked` it is evaluated on the newest version of each row, and the
    old values come from there; in `finished` it repeats the promise next to the UPDATE, where
    whoever edits it will see it. Rows are told apart by their place in the batch: a trigger may
    change the key, and a key may be NaN.

    Everything the journal needs comes along from step to step. Joined in the end it would cost
    five times as much: PostgreSQL does not know how few rows a step yields, and compares each with
    each.
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
        table.update(locked.c.status, locked.c.close_time, locked.c.message)
        .where(_same_use(table, locked), _still_running(table))
        .returning(
            table.id.label("id"),
            *labelled("new", table.written()),
            *(column for column in locked.c if column.name != "id"),
        )
        .cte(table.beside("finished"))
    )
    journal = _journal(table, finished) if journalled else None
    checked = Checked(sa.cast(finished.c.id, sa.Text), journal)
    triggers = table.relation.has_triggers
    query = what_was_done(
        locked, finished, _index, finished.c.status, checked if triggers else None
    )
    return query if journal is None else query.add_cte(journal)


def _index(rows: sa.CTE) -> sa.ColumnElement[Any]:
    """The place in the batch, counted from 0 as Python does."""
    return rows.c.place - sa.literal_column("1", sa.BigInteger)


def own_row_write(table: MappedTable, lock_timeout: int | None = None) -> sa.Select[Any]:
    """The main path's write: finish the row of this workflow's run, if it is still running.

    That is the row with this run id; only where there is none, whatever its status, the youngest
    row of the workflow id without a run id, made no later than `given_latest` (`SLACK` after the
    workflow started; None where that is not known: then no such row), that names the workflow's
    namespace if rows do. Never an older one once that is finished: a write that is tried twice
    would otherwise finish a second row. None where another fits as well: made at most `SLACK`
    before it or the start, not known to have ended by then.

    Waits for a row that another transaction has locked, as an application does that is storing
    the run id just now; the guard is then evaluated on the row's newest version. `lock_timeout`
    (milliseconds) limits that from within, for a statement that is a transaction by itself.
    """
    # As a query, which may be given parameters that it has no use for.
    return sa.select(_own_row_finished(table, lock_timeout)[0].c.id)


def counted_own_row_write(table: MappedTable, lock_timeout: int | None = None) -> sa.Select[Any]:
    """The same, as numbers: of rows that were finished, and of rows that left it in doubt."""
    finished, doubt = _own_row_finished(table, lock_timeout)
    count = sa.select(sa.func.count()).select_from(finished)
    return sa.select(count.scalar_subquery(), sa.select(doubt.c.rivals).scalar_subquery())


def _own_row_finished(table: MappedTable, lock_timeout: int | None) -> tuple[sa.CTE, sa.CTE]:
    candidates = _candidates(table)
    order = candidates.c.is_unnamed, candidates.c.made.desc().nulls_last(), candidates.c.id.desc()
    own = sa.select(candidates).order_by(*order).limit(1).cte(table.beside("own"))
    both = sa.join(own, candidates, _is_rival(candidates, own))
    rivals = sa.select(sa.func.count().label("rivals")).select_from(both)
    doubt = rivals.cte(table.beside("doubt"))
    status = sa.bindparam("given_status", type_=sa.Text)
    close_time = sa.bindparam("given_close_time", type_=_TIME)
    message = sa.bindparam("given_message", type_=sa.Text)
    is_clear = sa.select(doubt.c.rivals).scalar_subquery() == 0
    chosen = sa.select(own.c.id).where(is_clear).correlate(None).scalar_subquery()
    finished = (
        table.update(status, close_time, message)
        .where(table.id == chosen, table.is_running, _may_be_own(table), *_limited(lock_timeout))
        .returning(table.id.label("id"))
        .cte(table.beside("finished"))
    )
    return finished, doubt


def _candidates(table: MappedTable) -> sa.CTE:
    """The rows that may be the workflow's own, whatever their status."""
    run_id = sa.null() if table.run_id is None else table.run_id
    ended = table.written()["completed_at"]
    return (
        sa.select(
            table.id.label("id"),
            run_id.is_(sa.null()).label("is_unnamed"),
            table.created_at.label("made"),
            # A row whose end is known to be before the workflow's start is of an earlier one.
            sa.and_(sa.not_(table.is_running), ended < _STARTED).label("is_past"),
        )
        .where(_may_be_own(table))
        .cte(table.beside("candidates"))
    )


def _is_rival(candidates: sa.CTE, own: sa.CTE) -> sa.ColumnElement[bool]:
    """That a row without a run id fits the workflow as well as the youngest one does."""
    since = sa.func.least(own.c.made, _STARTED) - _SLACK
    return sa.and_(
        own.c.is_unnamed,
        candidates.c.id != own.c.id,
        candidates.c.is_past.is_not(sa.true()),
        sa.or_(candidates.c.made >= since, own.c.made.is_(sa.null())),
    )


def _limited(lock_timeout: int | None) -> Iterator[sa.ColumnElement[bool]]:
    """A condition without any row in it: it is evaluated before the first one is looked at."""
    if lock_timeout is not None:
        limit = sa.func.set_config("lock_timeout", str(lock_timeout), sa.true())
        yield sa.select(limit).scalar_subquery().is_not(sa.null())


def _may_be_own(table: MappedTable) -> sa.ColumnElement[bool]:
    """That a row has this workflow's run id; or none, and was made in time to be its row.

    Without a run id there must be two times to go by, its creation and the workflow's start, and a
    namespace if rows have one: the next use of the workflow id, or that of another namespace, would
    be taken for it.
    """
    workflow_id = sa.bindparam("given_workflow_id", type_=sa.Text)
    # The parameters are cast and not the columns, so that an index serves.
    same_workflow = table.workflow_id == as_stored(table.workflow_id, workflow_id)
    ways, no_run = [], []
    if table.run_id is not None:
        run_id = sa.bindparam("given_run_id", type_=sa.Text)
        same_run = table.run_id == as_stored(table.run_id, run_id)
        ways.append(sa.and_(same_run, _names_namespace(table, or_none=True)))
        no_run.append(table.run_id.is_(sa.null()))
    if table.mapping.names.created_at is not None:
        latest, made = sa.bindparam("given_latest", type_=_TIME), table.created_at
        in_time = latest.is_not(None), sa.or_(made.is_(None), made <= latest)
        ways.append(sa.and_(*no_run, *in_time, _names_namespace(table)))
    return sa.and_(table.is_ours, same_workflow, sa.or_(*ways))


def _names_namespace(table: MappedTable, *, or_none: bool = False) -> sa.ColumnElement[bool]:
    """That a row names the workflow's namespace, if rows name any."""
    if table.namespace is None:
        return sa.true()
    named = sa.func.coalesce(sa.cast(table.namespace, sa.Text), "")
    given = sa.bindparam("given_namespace", type_=sa.Text)
    return named.in_([given, sa.literal("")]) if or_none else named == given


def labelled(
    when: str, values: Mapping[str, sa.ColumnElement[Any]]
) -> Iterator[sa.ColumnElement[Any]]:
    """The values under the names that the journal has for them: `old_status` and so on."""
    return (value.label(f"{when}_{name}") for name, value in values.items())


def _given(table: MappedTable) -> sa.TableValuedAlias:
    """The outcomes of a batch as a relation, from one array per column."""
    names = ["workflow_id", "run_id", "status", "message", "evidence", "final_run_id"]
    if table.namespace is not None:
        names.append("namespace")
    times = ("close_time", "created_at") if table.is_partitioned else ("close_time",)
    # In an UPDATE, SQLAlchemy keeps parameters named like columns to itself: hence given_….
    arrays = [
        sa.bindparam("given_id", type_=postgresql.ARRAY(table.id.type)),
        *(sa.bindparam(f"given_{name}", type_=postgresql.ARRAY(sa.Text)) for name in names),
        *(sa.bindparam(f"given_{name}", type_=postgresql.ARRAY(_TIME)) for name in times),
    ]
    columns = [
        sa.column("id", table.id.type),
        *(sa.column(name, sa.Text) for name in names),
        *(sa.column(name, _TIME) for name in times),
    ]
    unnested = sa.func.unnest(*arrays)
    given = unnested.table_valued(*columns, with_ordinality="place")
    return given.render_derived(name=table.beside("given"))


def _running_ones(table: MappedTable) -> sa.ColumnElement[bool]:
    """That a row is running, and of the batch.

    The join says the latter too. By the join alone, each batch reads all running rows of a table
    that was analysed when nothing was running, since PostgreSQL expects none.
    """
    given_ids = sa.bindparam("given_id", type_=postgresql.ARRAY(table.id.type))
    return sa.and_(table.is_running, table.id == sa.any_(given_ids))


def _still_running(table: MappedTable) -> sa.ColumnElement[bool]:
    """That a row of those that are locked is running.

    In a CASE, PostgreSQL makes no estimate of how few that are, and finds each row by its key: to
    compare it with all keys of the batch once more would take a tenth of the write. The key of a
    partitioned table may have no index but ours, which is of running rows.
    """
    if not table.relation.finds_keys:
        return _running_ones(table)
    return sa.case((table.is_running, True), else_=False)


def _same_use(table: MappedTable, seen: sa.FromClause) -> sa.ColumnElement[bool]:
    """That a row is still of the same run of the same workflow as what was seen.

    Without a run id, the workflow id is all that tells one use of a row from the next.
    """
    same_row = table.id == seen.c.id
    same_workflow = sa.cast(table.workflow_id, sa.Text) == seen.c.workflow_id
    conditions = [same_row, same_workflow]
    if table.run_id is not None:
        run_id = sa.cast(seen.c.run_id, table.run_id.type)
        conditions.append(table.run_id.is_not_distinct_from(run_id))
    if table.namespace is not None:
        namespace = sa.cast(table.namespace, sa.Text)
        conditions.append(namespace.is_not_distinct_from(seen.c.namespace))
    if table.is_partitioned:
        made = readable(table.created_at)
        conditions.append(made.is_not_distinct_from(seen.c.created_at))
    return sa.and_(*conditions)


def _journal(table: MappedTable, finished: sa.CTE) -> sa.CTE:
    values: dict[str, sa.ColumnElement[Any]] = {
        "pass_id": sa.bindparam("pass_id", type_=sa.Uuid),
        "table_name": sa.literal(table.identity),
        "row_id": sa.cast(finished.c.id, sa.Text),
        "temporal_status": finished.c.evidence,
    }
    same = (
        *("workflow_id", "run_id", "old_status", "new_status", "old_completed_at"),
        *("new_completed_at", "old_error_message", "new_error_message"),
        *("final_run_id", "close_time"),
    )
    values |= {name: finished.c[name] for name in same}
    if "error_message" not in kept_values(table):
        values["new_error_message"] = finished.c.message  # or it would be nowhere
    return noting(values, table)
