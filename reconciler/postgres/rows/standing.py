"""The state of rows after all triggers have run, and the journal's lines corrected to match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.postgres.schema import changes
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.types import as_text, is_text


def standing_now(table: MappedTable, *, journalled: bool) -> sa.Select[Any]:
    """The statuses of the rows with the given keys; none if there is no such row.

    Also corrects the given lines of the journal whose values have changed since.
    """
    ids = sa.bindparam("ids", type_=postgresql.ARRAY(table.id.type))
    asked = sa.func.unnest(ids).table_valued(
        sa.column("id", table.id.type), with_ordinality="place"
    )
    asked = asked.render_derived(name=table.beside("asked"))
    now = sa.func.array_agg(as_text(table.status)).filter(table.id.is_not(None)).label("statuses")
    found = table.id == asked.c.id
    if not table.relation.finds_keys:
        # By the index on running rows, which always exists. With the join alone, PostgreSQL may
        # read all running rows.
        found = sa.and_(found, table.is_running, table.id == sa.any_(ids))
    joined = sa.outerjoin(asked, table.table, found)
    query = sa.select(asked.c.place, now).select_from(joined).group_by(asked.c.place)
    corrects = journalled and table.relation.finds_keys
    return query.add_cte(_corrected(table)) if corrects else query


def _corrected(table: MappedTable) -> sa.CTE:
    """Replace the journal's lines that differ from their rows.

    The role of a pass may insert into the journal and delete from it, but not update it.
    """
    lines = sa.bindparam("lines", type_=postgresql.ARRAY(sa.BigInteger))
    line = cast("sa.Alias[Any]", changes.alias(table.beside("line")))
    now = {name: value for name, value in kept_values(table).items() if name != "status"}
    differs = sa.or_(
        sa.false(), *(line.c[f"new_{name}"].is_distinct_from(now[name]) for name in now)
    )
    stale = (
        sa.delete(line)
        .where(line.c.id == sa.any_(lines), same_row(table, line), same_run(table, line), differs)
        .where(as_text(table.status).is_not_distinct_from(line.c.new_status))
        .returning(
            *(c for c in line.c if c.name not in ("id", *(f"new_{name}" for name in now))),
            *(value.label(f"new_{name}") for name, value in now.items()),
        )
        .cte(table.beside("stale"))
    )
    names = [column.name for column in stale.c]
    insert = sa.insert(changes).from_select(names, sa.select(*stale.c))
    return insert.cte(table.beside("corrected"))


def kept_values(table: MappedTable) -> Mapping[str, sa.ColumnElement[Any]]:
    """The written values for which the table has columns."""
    names, there = table.mapping.names, table.table.c
    columns = {name: getattr(names, name) for name in table.written()}
    return {n: v for n, v in table.written().items() if columns[n] and columns[n] in there}


def same_row(table: MappedTable, change: sa.FromClause) -> sa.ColumnElement[bool]:
    """That a change in the journal is about this row."""
    # The text is cast, not the key, so that the key's index can be used.
    return table.id == sa.cast(change.c.row_id, table.id.type)


def same_run(table: MappedTable, seen: sa.FromClause) -> sa.ColumnElement[bool]:
    """That a row has the workflow id and run id that were seen, or that a change records."""
    same = [table.workflow_id.is_not_distinct_from(seen.c.workflow_id)]
    if (run_id := table.run_id) is not None:
        # Null and '' both mean that there is none.
        seen_one: sa.ColumnElement[Any] = sa.func.nullif(seen.c.run_id, "")
        if is_text(run_id):
            same.append(sa.func.nullif(run_id, "").is_not_distinct_from(seen_one))
        else:
            same.append(run_id.is_not_distinct_from(sa.cast(seen_one, run_id.type)))
    return sa.and_(*same)


def has_values(
    table: MappedTable, change: sa.FromClause, when: str
) -> Sequence[sa.ColumnElement[bool]]:
    """That a row has the values from before (`old`) or after (`new`) a change.

    For a column that the table lacks, the journal may contain what would have been written.
    """
    now = kept_values(table).items()
    return [value.is_not_distinct_from(change.c[f"{when}_{name}"]) for name, value in now]
