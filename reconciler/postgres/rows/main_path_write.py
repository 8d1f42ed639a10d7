"""The write of the main path: the rows of a workflow that reports its own end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from reconciler.postgres.rows.rivals import (
    SKEW,
    Candidate,
    ChainColumns,
    at_the_earliest,
    claims_without_run_id,
)
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.relation import BASE, DECLARED
from reconciler.postgres.table.run_row import finish
from reconciler.postgres.table.types import as_stored

_TIME = sa.DateTime(timezone=True)


def main_path_write(table: MappedTable, lock_timeout: int | None = None) -> sa.Select[Any]:
    """Finish the rows of this workflow's run that are still running.

    Returns three counts: of rows that were finished; of rows that may be the workflow's, if it is
    in doubt which of them is; and of all rows of any status that may be its own.

    These are all rows with this run id: an application may store it in several, for instance if
    the activity that inserts them is retried. If there is none, of any status, it is the row
    without a run id that no other row has a claim against (`core.own_use`): of those created
    before the workflow started the youngest, else the oldest created since. It is never another
    row, even if that one is finished: otherwise a second attempt would finish a second row.
    `given_started`: when the first run of the chain started; None if it is unknown: then there is
    no such row. If rows have a namespace, it has the workflow's. `given_closed`: when the workflow
    closed, if its id may be in use again by now: see `_is_of_this_use`.

    Waits for a row that another transaction has locked: an application may be storing the run id.
    The guard is then evaluated on the row's newest version. `lock_timeout` (milliseconds) limits
    the wait from within the statement, for one that is a transaction by itself.
    """
    finished, doubt = _finished(table, lock_timeout)
    # A query, since that may be given parameters that it does not use.
    count = sa.select(sa.func.count()).select_from(finished)
    return sa.select(
        count.scalar_subquery(),
        sa.select(doubt.c.rows).scalar_subquery(),
        sa.select(doubt.c.known).scalar_subquery(),
    )


def _finished(table: MappedTable, lock_timeout: int | None) -> tuple[sa.CTE, sa.CTE]:
    candidates = _candidates(table)
    chosen = _chosen(table, candidates)
    doubt = _doubt(table, candidates, chosen)
    status = sa.bindparam("given_status", type_=sa.Text)
    close_time = sa.bindparam("given_close_time", type_=_TIME)
    message = sa.bindparam("given_message", type_=sa.Text)
    is_chosen = table.id == sa.any_(sa.func.array(sa.select(chosen.c.id).scalar_subquery()))
    finished = (
        finish(table, status, close_time, message)
        .where(
            is_chosen,
            table.is_running,
            _may_be_own(table),
            _is_of_this_use(table),
            *_limited(lock_timeout),
            *_is_unaltered(table),
        )
        .returning(table.id.label("id"))
        .cte(table.beside("finished"))
    )
    return finished, doubt


def _candidates(table: MappedTable) -> sa.CTE:
    """The rows of any status that may be the workflow's."""
    candidate = Candidate.of(table)
    return (
        sa.select(
            table.id.label("id"),
            # Rows may have the same key. A statement sees each of them in one place.
            sa.literal_column("tableoid::text || ctid::text", sa.Text).label("place"),
            table.has_no_run_id.label("is_unnamed"),
            candidate.run_id.label("run_id"),
            candidate.created_at.label("made"),
            candidate.ended_at.label("ended"),
            table.is_running.label("is_running"),
        )
        .where(_may_be_own(table))
        .cte(table.beside("candidates"))
    )


def _chosen(table: MappedTable, candidates: sa.CTE) -> sa.CTE:
    """The workflow's own rows, running or not."""
    other = candidates.alias(table.beside("other"))
    as_candidate = Candidate(other.c.run_id, other.c.made, other.c.ended)
    claims = sa.or_(
        sa.not_(other.c.is_unnamed),
        claims_without_run_id(as_candidate, candidates.c.made, _chain(), table),
    )
    is_contested = sa.exists().where(other.c.place != candidates.c.place, claims)
    own = sa.and_(candidates.c.made.is_not(sa.null()), sa.not_(is_contested))
    return (
        sa.select(candidates.c.id)
        .where(sa.or_(sa.not_(candidates.c.is_unnamed), own))
        .cte(table.beside("chosen"))
    )


def _doubt(table: MappedTable, candidates: sa.CTE, chosen: sa.CTE) -> sa.CTE:
    """How many running rows may be the workflow's, if none is chosen and there are several.

    And how many rows of any status may be.
    """
    rows = sa.func.count().filter(candidates.c.is_running)
    none = sa.not_(sa.exists(sa.select(chosen.c.id)))
    several = sa.case((sa.and_(rows > 1, none), rows), else_=0)
    columns = several.label("rows"), sa.func.count().label("known")
    return sa.select(*columns).select_from(candidates).cte(table.beside("doubt"))


def _chain() -> ChainColumns:
    """The workflow's chain, which closes as soon as it has reported."""
    run_id = sa.func.lower(sa.bindparam("given_run_id", type_=sa.Text))
    started = sa.bindparam("given_started", type_=_TIME)
    return ChainColumns(run_id, run_id, started, sa.bindparam("given_close_time", type_=_TIME))


def _is_unaltered(table: MappedTable) -> Iterator[sa.ColumnElement[bool]]:
    """Conditions that fail the statement if a time has another type than when it was mapped.

    Nothing else would: it would be converted in the session's time zone. An error lets the caller
    map the table again. They refer to the row that is written, which costs less than to look into
    the catalogue.
    """
    names = table.mapping.names
    columns = [table.table.c.get(each) for each in (names.created_at, names.completed_at) if each]
    for column in columns:
        if column is None or column.info[DECLARED] != column.info[BASE]:
            continue
        mapped: sa.ColumnElement[Any] = sa.literal_column(f"'{column.info[BASE]}'::regtype")
        found = sa.func.pg_typeof(column)
        error = sa.cast(sa.cast(found, sa.Text), sa.Boolean)  # no name of a type is a boolean
        yield sa.case((found == mapped, sa.true()), else_=error)


def _limited(lock_timeout: int | None) -> Iterator[sa.ColumnElement[bool]]:
    """A condition that refers to no row, so that it is evaluated before the first row is read."""
    if lock_timeout is not None:
        limit = sa.func.set_config("lock_timeout", str(lock_timeout), sa.true())
        yield sa.select(limit).scalar_subquery().is_not(sa.null())


def _may_be_own(table: MappedTable) -> sa.ColumnElement[bool]:
    """That a row has this workflow's run id; or none, and was created before it ended.

    A row that passes do not cover may have it too: then no row without a run id is the workflow's.

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
        started, made = (
            sa.bindparam("given_started", type_=_TIME),
            at_the_earliest(table.created_at, table),
        )
        in_time = started.is_not(None), sa.or_(made.is_(None), _chain().covers(made))
        fits = *in_time, _names_namespace(table), table.is_whole, table.is_included
        ways.append(sa.and_(table.has_no_run_id, *fits))
    return sa.and_(same_workflow, sa.or_(*ways))


def _is_of_this_use(table: MappedTable) -> sa.ColumnElement[bool]:
    """That a row cannot be about the next use of the workflow id, if there may be one.

    A row without a run id that was created since the close may be that of the next use. One that
    was changed since then may be about to start again, as passes assume too (`core.verdict`).
    """
    closed, names = sa.bindparam("given_closed", None, type_=_TIME), table.mapping.names
    is_later: sa.ColumnElement[bool] = sa.false()
    conditions = []
    if names.created_at is not None:
        is_later = sa.func.coalesce(table.created_at > closed, sa.false())
        conditions.append(sa.not_(sa.and_(table.has_no_run_id, is_later)))
    if names.updated_at is not None:
        changed = table.updated_at
        conditions.append(sa.or_(changed.is_(sa.null()), changed <= closed + SKEW, is_later))
    return sa.or_(closed.is_(sa.null()), sa.and_(sa.true(), *conditions))


def _names_namespace(table: MappedTable, *, or_none: bool = False) -> sa.ColumnElement[bool]:
    """That a row has the workflow's namespace, if rows have a namespace."""
    if table.namespace is None:
        return sa.true()
    named = sa.func.coalesce(sa.cast(table.namespace, sa.Text), "")
    given = sa.bindparam("given_namespace", type_=sa.Text)
    return named.in_([given, sa.literal("")]) if or_none else named == given
