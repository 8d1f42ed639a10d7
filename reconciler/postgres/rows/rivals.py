"""Other rows of a workflow id, for rows without a run id that a pass may finish. Reads only.

One statement per page, and none if all rows have run ids. Without an index that begins with the
workflow id it reads the whole table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import Rival
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
_TEXTS, _TIMES = ("workflow_id", "first_run_id", "last_run_id"), ("earliest", "latest")


async def find_rivals(
    engine: AsyncEngine, table: MappedTable, query: sa.Select[Any], endings: Sequence[Ending]
) -> list[list[Rival]]:
    """The rivals of each of these rows, inside or outside of the window.

    `query` is `select_rivals(table)`, built once per pass. Raises `DatabaseUnusable`.
    """
    found: list[list[Rival]] = [[] for _ in endings]
    make = row_maker(table)
    with translated(f"read {table.full_name}"):
        rows = await fetch(engine, query, arrays(table, endings))
    for *fields, ended, place in rows:
        found[place - 1].append(Rival(make(*fields), ended))
    return found


def select_rivals(table: MappedTable) -> sa.Select[Any]:
    """The columns of `Rival`, and the place of the row that it rivals, counted from 1."""
    given, made = _given(table), table.created_at
    run_id = sa.func.lower(as_text(table.run_id))
    in_time = sa.or_(made.is_(None), made.between(given.c.earliest, given.c.latest))
    ended = sa.case((sa.not_(table.is_running), readable(table.written()["completed_at"])))
    same_workflow = table.workflow_ids.equal(given.c.workflow_id)
    others = sa.join(table.table, given, sa.and_(same_workflow, table.id != given.c.id))
    return (
        select_rows(table)
        .add_columns(ended.label("ended"), given.c.place)
        .select_from(others)
        .where(
            table.is_included,
            sa.or_(
                run_id.in_([given.c.first_run_id, given.c.last_run_id]),
                sa.and_(table.has_no_run_id, in_time),
            ),
        )
    )


def arrays(table: MappedTable, endings: Sequence[Ending]) -> Mapping[str, Any]:
    """The parameters of the statement."""
    ids = [each.row.workflow_id for each in endings]
    return {
        **table.workflow_ids.parameters(ids),
        "given_id": [each.row.id for each in endings],
        "given_workflow_id": ids,
        "given_first_run_id": [each.start.run_id for each in endings],
        "given_last_run_id": [each.run_id for each in endings],
        "given_earliest": [each.start.earliest for each in endings],
        "given_latest": [each.start.latest for each in endings],
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
