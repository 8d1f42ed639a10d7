"""Other rows of a workflow id, for rows without a run id that may be finished. Reads only.

`core.own_use.claim_of` in SQL, for passes and for the main path. A pass runs one statement per
page, and none if all rows have run ids. Without an index that begins with the workflow id it reads
the whole table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import Rival, RunRow
from reconciler.core.own_use import CLOCK_SKEW, FURTHEST_ZONE
from reconciler.core.ports import Ending
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.rows.arrays import given_rows
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.run_row import row_maker, select_rows
from reconciler.postgres.table.types import as_text, readable

#: Why rows are left if the statement times out.
TOO_SLOW = (
    "the row has no run id, and finding other rows of its workflow id takes too long: "
    "create an index on that column"
)
#: How many running rows are checked for run ids.
AMONG = 1_000
_TIME = sa.DateTime(timezone=True)
#: Rivals that are read of one row, for each namespace: one of its own is enough to leave it.
AT_MOST = 10
_TEXTS = ("workflow_id", "namespace", "first_run_id", "last_run_id")
_TIMES = ("created_at", "started_at", "closed_at")


def _interval(time: timedelta) -> sa.ColumnElement[Any]:
    return sa.literal_column(f"interval '{time.total_seconds():.0f} seconds'", sa.Interval)


SKEW = _interval(CLOCK_SKEW)


@dataclass(frozen=True, slots=True)
class Candidate:
    """The columns of a row that its claim depends on."""

    #: In lower case; empty if there is none.
    run_id: sa.ColumnElement[Any]
    created_at: sa.ColumnElement[Any]
    #: Null while it is running, and if that is not stored.
    ended_at: sa.ColumnElement[Any]

    @classmethod
    def of(cls, table: MappedTable) -> Candidate:
        """The columns of the table."""
        return cls(
            sa.func.coalesce(sa.func.lower(as_text(table.run_id)), ""),
            table.created_at,
            sa.case((sa.not_(table.is_running), readable(table.written()["completed_at"]))),
        )


@dataclass(frozen=True, slots=True)
class ChainColumns:
    """A use of the workflow id that has closed, or is about to: `core.own_use.Chain`."""

    first_run_id: sa.ColumnElement[Any]
    last_run_id: sa.ColumnElement[Any]
    started_at: sa.ColumnElement[Any]
    closed_at: sa.ColumnElement[Any]

    def covers(self, created_at: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """That a row that was created then may be its own."""
        return created_at <= self.closed_at + SKEW


def stores_run_id(other: Candidate, chain: ChainColumns) -> sa.ColumnElement[bool]:
    """That the row has one of the chain's run ids."""
    return other.run_id.in_([chain.first_run_id, chain.last_run_id])


def at_the_earliest(time: sa.ColumnElement[Any], table: MappedTable) -> sa.ColumnElement[Any]:
    """The time; if its zone is not known, the earliest that it may be."""
    return time - _interval(FURTHEST_ZONE) if table.shift else time


def claims_without_run_id(
    other: Candidate, created_at: sa.ColumnElement[Any], chain: ChainColumns, table: MappedTable
) -> sa.ColumnElement[bool]:
    """That a row has another claim against one without a run id that was created then."""
    if table.shift:
        made = at_the_earliest(other.created_at, table)
        ended = other.ended_at + _interval(FURTHEST_ZONE)
        return sa.and_(
            other.run_id == "",
            sa.or_(ended.is_(sa.null()), ended >= chain.started_at - SKEW),
            sa.or_(made.is_(sa.null()), chain.covers(made)),
        )
    earliest, latest = chain.started_at - SKEW, chain.started_at + SKEW
    made, ended = other.created_at, other.ended_at
    late = sa.and_(created_at > latest, made <= created_at)
    early = sa.and_(created_at <= latest, made.between(sa.func.least(created_at, earliest), latest))
    return sa.and_(
        other.run_id == "",
        sa.or_(ended.is_(sa.null()), ended >= earliest),
        sa.or_(made.is_(sa.null()), chain.covers(made)),
        sa.or_(ended.is_not(sa.null()), made.is_(sa.null()), late, early),
    )


async def find_rivals(
    engine: AsyncEngine, table: MappedTable, query: sa.Select[Any], endings: Sequence[Ending]
) -> list[list[Rival]]:
    """The rows with a claim against each of these, inside or outside of the window.

    `query` is `select_rivals(table)`, built once per pass. Raises `DatabaseUnusable`.
    """
    found: list[list[Rival]] = [[] for _ in endings]
    make = row_maker(table)
    with translated(f"read {table.full_name}"):
        rows = await fetch(engine, query, arrays(table, endings))
    for *fields, ended, place in rows:
        found[place - 1].append(Rival(make(*fields), ended))
    if table.may_repeat_keys:
        return [_without(each.row, all_) for each, all_ in zip(endings, found, strict=True)]
    return found


def _without(row: RunRow, found: list[Rival]) -> list[Rival]:
    """The rows without the row itself. Others may have the same key."""
    own = next((each for each in found if each.row == row), None)
    return [each for each in found if each is not own]


def select_rivals(table: MappedTable) -> sa.Select[Any]:
    """The columns of `Rival`, and the place of the row that it rivals, counted from 1."""
    given, candidate = _given(table), Candidate.of(table)
    columns = "first_run_id", "last_run_id", "started_at", "closed_at"
    chain = ChainColumns(*(given.c[name] for name in columns))
    stores = stores_run_id(candidate, chain)
    # A run id is of one run only, so it counts also in a row that passes do not cover.
    by_time = claims_without_run_id(candidate, given.c.created_at, chain, table)
    claims = sa.or_(stores, sa.and_(table.is_included, by_time))
    same_workflow = sa.and_(
        table.workflow_ids.equal(given.c.workflow_id), _same_space(table, given)
    )
    is_other = sa.true() if table.may_repeat_keys else table.id != given.c.id
    others = sa.join(table.table, given, sa.and_(same_workflow, is_other))
    order = sa.func.row_number().over(
        partition_by=[given.c.place, *([] if table.namespace is None else [table.namespace])],
        order_by=(stores.desc(), table.id.desc()),
    )
    found = (
        select_rows(table)
        .add_columns(candidate.ended_at.label("ended"), given.c.place, order.label("nth"))
        .select_from(others)
        .where(claims)
        .subquery()
    )
    *fields, nth = found.c
    return sa.select(*fields).where(nth <= AT_MOST)


def _same_space(table: MappedTable, given: sa.TableValuedAlias) -> sa.ColumnElement[bool]:
    """That both rows may be of one namespace: if one names none, that is not known here."""
    if table.namespace is None:
        return sa.true()
    own, other = (sa.cast(each, sa.Text) for each in (table.namespace, given.c.namespace))
    unnamed = (sa.func.coalesce(each, "") == "" for each in (own, other))
    return sa.or_(own == other, *unnamed)


def arrays(table: MappedTable, endings: Sequence[Ending]) -> Mapping[str, Any]:
    """The parameters of the statement."""
    ids = [each.row.workflow_id for each in endings]
    return {
        **table.workflow_ids.parameters(ids),
        "given_id": [each.row.id for each in endings],
        "given_workflow_id": ids,
        "given_namespace": [each.row.namespace for each in endings],
        "given_created_at": [each.row.created_at for each in endings],
        "given_first_run_id": [each.chain.first_run_id for each in endings],
        "given_last_run_id": [each.chain.last_run_id for each in endings],
        "given_started_at": [each.chain.started_at for each in endings],
        "given_closed_at": [each.chain.closed_at for each in endings],
    }


# A partial index does not count: it lacks rows of some statuses.
_INDEXED = sa.text(
    "SELECT EXISTS (SELECT FROM pg_index i"
    " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
    " WHERE i.indrelid = to_regclass(:table) AND a.attname = ANY (:columns)"
    " AND i.indisvalid AND i.indpred IS NULL)"
).bindparams(sa.bindparam("columns", type_=postgresql.ARRAY(sa.Text)))


async def is_indexed(engine: AsyncEngine, table: MappedTable) -> bool:
    """Whether the statement can use an index. Raises `DatabaseUnusable`."""
    name = engine.dialect.identifier_preparer.format_table(table.table)
    given = {"table": name, "columns": list(table.workflow_ids.indexable)}
    with translated(f"read the indexes of {table.full_name}", engine):
        return bool((await fetch(engine, _INDEXED, given))[0][0])


async def are_looked_for(engine: AsyncEngine, table: MappedTable, grace: timedelta) -> bool:
    """Whether running rows older than `grace` have no run id; younger ones may still get theirs.

    Checks the last `AMONG` running rows. Raises `DatabaseUnusable`.
    """
    if table.run_id is None:
        return True
    unnamed, made = table.has_no_run_id.label("unnamed"), table.created_at.label("made")
    running = sa.and_(table.is_running, table.has_workflow_id)
    rows = sa.select(unnamed, made).where(running).order_by(table.id.desc()).limit(AMONG)
    last = rows.subquery().c
    query = sa.select(sa.exists().where(last.unnamed, last.made < sa.func.now() - grace))
    with translated(f"read {table.full_name}", engine):
        return bool((await fetch(engine, query))[0][0])


def _given(table: MappedTable) -> sa.TableValuedAlias:
    return given_rows(table, dict.fromkeys(_TEXTS, sa.Text()) | dict.fromkeys(_TIMES, _TIME))
