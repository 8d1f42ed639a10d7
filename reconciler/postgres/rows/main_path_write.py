"""The write of the main path: the rows of a workflow that reports its own end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.run_row import finish
from reconciler.postgres.table.types import as_stored

_TIME = sa.DateTime(timezone=True)

#: How far the clocks of database and Temporal may differ. A row without a run id is matched to a
#: workflow by its creation time.
SLACK = timedelta(seconds=60)
_SLACK = sa.literal_column(f"interval '{SLACK.total_seconds():.0f} seconds'", sa.Interval)
_STARTED = sa.bindparam("given_latest", type_=_TIME) - _SLACK


def main_path_write(table: MappedTable, lock_timeout: int | None = None) -> sa.Select[Any]:
    """Finish the rows of this workflow's run that are still running.

    Returns two counts: of rows that were finished, and of other rows that fit as well.

    These are all rows with this run id: an application may store it in several, for instance if
    the activity that inserts them is retried. If there is none, of any status, it is the youngest
    row of the workflow id without a run id that was created no later than `given_latest` (`SLACK`
    after the workflow started; None if the start is unknown: then there is no such row) and, if
    rows have a namespace, has the workflow's. It is never an older row, even if the youngest is
    finished: otherwise a second attempt would finish a second row. No row is finished if another
    one fits as well: created at most `SLACK` before it or the start, and not known to have ended
    by then.

    Waits for a row that another transaction has locked: an application may be storing the run id.
    The guard is then evaluated on the row's newest version. `lock_timeout` (milliseconds) limits
    the wait from within the statement, for one that is a transaction by itself.
    """
    finished, doubt = _finished(table, lock_timeout)
    # A query, since that may be given parameters that it does not use.
    count = sa.select(sa.func.count()).select_from(finished)
    return sa.select(count.scalar_subquery(), sa.select(doubt.c.rivals).scalar_subquery())


def _finished(table: MappedTable, lock_timeout: int | None) -> tuple[sa.CTE, sa.CTE]:
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
    together = sa.or_(candidates.c.id == own.c.id, sa.not_(candidates.c.is_unnamed))
    chosen = sa.select(candidates.c.id).join(own, together).where(is_clear).correlate(None)
    is_chosen = table.id == sa.any_(sa.func.array(chosen.scalar_subquery()))
    finished = (
        finish(table, status, close_time, message)
        .where(is_chosen, table.is_running, _may_be_own(table), *_limited(lock_timeout))
        .returning(table.id.label("id"))
        .cte(table.beside("finished"))
    )
    return finished, doubt


def _candidates(table: MappedTable) -> sa.CTE:
    """The rows of any status that may be the workflow's."""
    ended = table.written()["completed_at"]
    return (
        sa.select(
            table.id.label("id"),
            table.has_no_run_id.label("is_unnamed"),
            table.created_at.label("made"),
            # A row that ended before the workflow's start belongs to an earlier workflow.
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
    """A condition that refers to no row, so that it is evaluated before the first row is read."""
    if lock_timeout is not None:
        limit = sa.func.set_config("lock_timeout", str(lock_timeout), sa.true())
        yield sa.select(limit).scalar_subquery().is_not(sa.null())


def _may_be_own(table: MappedTable) -> sa.ColumnElement[bool]:
    """That a row has this workflow's run id; or none, and was created in time to be its row.

    Without a run id both times must be known, its creation and the workflow's start, and the
    namespace if rows have one; and no row may be hidden. Else a row of the next use of the workflow
    id, or of another namespace, could be mistaken for it, or a row that fits better be overlooked.
    """
    workflow_id = sa.bindparam("given_workflow_id", type_=sa.Text)
    same_workflow = table.workflow_ids.equal(workflow_id)
    ways = []
    if table.run_id is not None:
        run_id = sa.bindparam("given_run_id", type_=sa.Text)
        same_run = table.run_id == as_stored(table.run_id, run_id)
        ways.append(sa.and_(same_run, _names_namespace(table, or_none=True)))
    if table.mapping.names.created_at is not None:
        latest, made = sa.bindparam("given_latest", type_=_TIME), table.created_at
        in_time = latest.is_not(None), sa.or_(made.is_(None), made <= latest)
        fits = *in_time, _names_namespace(table), table.is_whole
        ways.append(sa.and_(table.has_no_run_id, *fits))
    return sa.and_(table.is_included, same_workflow, sa.or_(*ways))


def _names_namespace(table: MappedTable, *, or_none: bool = False) -> sa.ColumnElement[bool]:
    """That a row has the workflow's namespace, if rows have a namespace."""
    if table.namespace is None:
        return sa.true()
    named = sa.func.coalesce(sa.cast(table.namespace, sa.Text), "")
    given = sa.bindparam("given_namespace", type_=sa.Text)
    return named.in_([given, sa.literal("")]) if or_none else named == given
