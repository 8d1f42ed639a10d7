"""Rows as passes read and write them: what to select, how a `RunRow` is made of it, the updates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.core.model import RunRow
from reconciler.core.window import Window
from reconciler.postgres.connection.encoding import decoded, read_as_bytes, shown
from reconciler.postgres.table.keys import has_bytes
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.types import as_message, as_stored, as_text, as_time, readable


def select_rows(table: MappedTable) -> sa.Select[Any]:
    """The columns of `RunRow`, in its order, for `row_maker`."""
    return sa.select(
        table.key.read.label("id"),
        table.read_text(sa.func.coalesce(table.workflow_id, "")).label("workflow_id"),
        table.read_text(as_text(table.run_id)).label("run_id"),
        readable(table.created_at).label("created_at"),
        table.read_text(as_text(table.namespace)).label("namespace"),
        readable(table.updated_at).label("updated_at"),
    ).select_from(table.table)


def row_maker(table: MappedTable) -> Callable[..., RunRow]:
    """Makes a row from the columns of `select_rows`."""
    return partial(_decoded, table) if read_as_bytes(table.relation.encoding) else RunRow


def in_window(table: MappedTable, window: Window) -> sa.ColumnElement[bool]:
    """That a row was created in the window, and has its workflow type."""
    made = table.created_at
    conditions: list[sa.ColumnElement[bool]] = [sa.true()]
    if window.since is not None:
        conditions.append(made >= window.since)
    if window.until is not None:
        conditions.append(made < window.until)
    if window.workflow_type is not None:
        conditions.append(table.workflow_type == window.workflow_type)
    return sa.and_(*conditions)


def count_page(page: sa.Select[Any], table: MappedTable) -> sa.Select[Any]:
    """Counts the page's rows, and those in the window with their age; and the page's last id."""
    found = page.add_columns(table.id.label("order")).subquery().c
    row_id, made, in_window, order = found.id, found.created_at, found.in_window, found.order
    last = sa.func.array_agg(postgresql.aggregate_order_by(row_id, order.desc()))[1]
    return sa.select(
        sa.func.count(),
        sa.func.count().filter(in_window),
        sa.func.min(made).filter(in_window),
        sa.func.max(made).filter(in_window),
        sa.type_coerce(last, table.key.read.type),
    )


def finish(
    table: MappedTable,
    status: sa.ColumnElement[Any],
    completed_at: sa.ColumnElement[Any],
    message: sa.ColumnElement[Any],
) -> sa.Update:
    """The update that finishes rows: a status, a timestamptz, a message as people read it.

    As far as the columns exist.
    """
    return sa.update(table.table).values(finish_values(table, status, completed_at, message))


def finish_values(
    table: MappedTable,
    status: sa.ColumnElement[Any],
    completed_at: sa.ColumnElement[Any],
    message: sa.ColumnElement[Any],
) -> dict[sa.Column[Any], sa.ColumnElement[Any]]:
    """The values of `finish`, by column."""
    if (column := table.optional(table.mapping.names.error_message)) is not None:
        message = as_message(column, message, table.mapping.message_key)
    return _values(table, status, completed_at, message)


def update(
    table: MappedTable,
    status: sa.ColumnElement[Any],
    completed_at: sa.ColumnElement[Any],
    error_message: sa.ColumnElement[Any],
) -> sa.Update:
    """The update that writes values as `MappedTable.written` has them, if there are columns.

    The time of the last change becomes now: the journal does not have it.
    """
    return sa.update(table.table).values(_values(table, status, completed_at, error_message))


def _values(
    table: MappedTable,
    status: sa.ColumnElement[Any],
    completed_at: sa.ColumnElement[Any],
    error_message: sa.ColumnElement[Any],
) -> dict[sa.Column[Any], sa.ColumnElement[Any]]:
    names = table.mapping.names
    values = {table.status: as_stored(table.status, status)}
    if (column := table.optional(names.completed_at)) is not None:
        values[column] = as_time(column, completed_at, table.mapping.zone)
    if (column := table.optional(names.error_message)) is not None:
        values[column] = as_stored(column, error_message)
    if (column := table.optional(names.updated_at)) is not None:
        values[column] = as_time(column, sa.func.now(), table.mapping.zone)
    return values


def _decoded(
    table: MappedTable,
    key: Any,
    workflow_id: bytes,
    run_id: Any,
    created_at: Any,
    namespace: Any,
    updated_at: Any,
) -> RunRow:
    texts, row_id = (workflow_id, run_id, namespace), table.key.decode(key)
    cause = f"its key is not {table.codec}" if has_bytes(row_id) else None
    try:
        named, run, space = (decoded(text, table.codec) for text in texts)
    except UnicodeDecodeError as error:
        named, run, space = map(shown, texts)
        cause = f"its text is not {error.encoding}: {error.reason} in {named!r}"
    return RunRow(row_id, named or "", run, created_at, space, updated_at, cause)
