"""Rows as passes read them: what to select of the table, and how a `RunRow` is made of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import sqlalchemy as sa

from reconciler.core.model import RunRow
from reconciler.postgres.connection.encoding import decoded, read_as_bytes, shown
from reconciler.postgres.table.keys import has_bytes
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.types import as_text, readable


def select_rows(table: MappedTable) -> sa.Select[Any]:
    """The columns of `RunRow`, in its order, for `row_maker`."""
    return sa.select(
        table.key.read.label("id"),
        table.read_text(sa.func.coalesce(table.workflow_id, "")).label("workflow_id"),
        table.read_text(as_text(table.run_id)).label("run_id"),
        readable(table.created_at).label("created_at"),
        table.read_text(as_text(table.namespace)).label("namespace"),
    ).select_from(table.table)


def row_maker(table: MappedTable) -> Callable[..., RunRow]:
    """Makes a row from the columns of `select_rows`."""
    return partial(_decoded, table) if read_as_bytes(table.relation.encoding) else RunRow


def _decoded(
    table: MappedTable, key: Any, workflow_id: bytes, run_id: Any, created_at: Any, namespace: Any
) -> RunRow:
    texts, row_id = (workflow_id, run_id, namespace), table.key.decode(key)
    cause = f"its key is not {table.codec}" if has_bytes(row_id) else None
    try:
        named, run, space = (decoded(text, table.codec) for text in texts)
    except UnicodeDecodeError as error:
        named, run, space = map(shown, texts)
        cause = f"its text is not {error.encoding}: {error.reason} in {named!r}"
    return RunRow(row_id, named or "", run, created_at, space, cause)
