"""How rows stand once every trigger has been at them, and what the journal then says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.postgres.schema import changes
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.types import as_text


def standing_now(table: MappedTable, *, journalled: bool) -> sa.Select[Any]:
    """The statuses that the rows with the given keys have; none where there is no such row.

    Puts right on the way what the journal's given lines say of values that have changed since.
    """
    ids = sa.bindparam("ids", type_=postgresql.ARRAY(table.id.type))
    asked = sa.func.unnest(ids).table_valued(
        sa.column("id", table.id.type), with_ordinality="place"
    )
    asked = asked.render_derived(name=table.beside("asked"))
    now = sa.func.array_agg(as_text(table.status)).filter(table.id.is_not(None)).label("statuses")
    found = table.id == asked.c.id
    if not table.relation.finds_keys:
        # By the index that there is for sure, which is of running rows; by the join alone,
        # PostgreSQL may read all of those.
        found = sa.and_(found, table.is_running, table.id == sa.any_(ids))
    joined = sa.outerjoin(asked, table.table, found)
    query = sa.select(asked.c.place, now).select_from(joined).group_by(asked.c.place)
    puts_right = journalled and table.relation.finds_keys
    return query.add_cte(_put_right(table)) if puts_right else query


def _put_right(table: MappedTable) -> sa.CTE:
    """Replace the lines of the journal that say something else than their rows.

    A role that passes may insert into it and delete from it, but not update it.
    """
    noted = sa.bindparam("noted", type_=postgresql.ARRAY(sa.BigInteger))
    line = cast("sa.Alias[Any]", changes.alias(table.beside("line")))
    now = {name: value for name, value in kept_values(table).items() if name != "status"}
    differs = sa.or_(
        sa.false(), *(line.c[f"new_{name}"].is_distinct_from(now[name]) for name in now)
    )
    stale = (
        sa.delete(line)
        .where(line.c.id == sa.any_(noted), same_row(table, line), same_run(table, line), differs)
        .where(as_text(table.status) == line.c.new_status)
        .returning(
            *(c for c in line.c if c.name not in ("id", *(f"new_{name}" for name in now))),
            *(value.label(f"new_{name}") for name, value in now.items()),
        )
        .cte(table.beside("stale"))
    )
    names = [column.name for column in stale.c]
    insert = sa.insert(changes).from_select(names, sa.select(*stale.c))
    return insert.cte(table.beside("put_right"))


def kept_values(table: MappedTable) -> Mapping[str, sa.ColumnElement[Any]]:
    """Those of the written values that the table has columns for."""
    names, there = table.mapping.names, table.table.c
    columns = {name: getattr(names, name) for name in table.written()}
    return {n: v for n, v in table.written().items() if columns[n] and columns[n] in there}


def same_row(table: MappedTable, change: sa.FromClause) -> sa.ColumnElement[bool]:
    """That a row is the one that a line of the journal is about."""
    # The text is cast and not the key, so that the key's index serves.
    return table.id == sa.cast(change.c.row_id, table.id.type)


def same_run(table: MappedTable, change: sa.FromClause) -> sa.ColumnElement[bool]:
    """That it is still about that run of that workflow."""
    same = [sa.cast(table.workflow_id, sa.Text).is_not_distinct_from(change.c.workflow_id)]
    if table.run_id is not None:
        run_id = sa.cast(change.c.run_id, table.run_id.type)
        same.append(table.run_id.is_not_distinct_from(run_id))
    return sa.and_(*same)


def has_values(
    table: MappedTable, change: sa.FromClause, when: str
) -> Sequence[sa.ColumnElement[bool]]:
    """That it has the values from before (`old`) or after (`new`) that change.

    Of a column that the table has not, the journal may have what would have been written.
    """
    now = kept_values(table).items()
    return [value.is_not_distinct_from(change.c[f"{when}_{name}"]) for name, value in now]
