"""Fitting the application's table: create it where there is none, or add only what is missing.

Called by migration 0002, and again by every `reconciler migrate`, so that a table that is named
later is fitted too. What was added to a table that was there before is marked with a comment:
taking the reconciler out again removes exactly that.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from alembic.operations import Operations

from reconciler.postgres.tables import OWN_SCHEMA, TableNames, default_columns, is_running

#: The comment on a column that was added to a table of the application's.
MARK = "added by reconciler migrate"

# Whether our index is there and serves: valid, on this key, for this status value.
_INDEX_STATE = sa.text(
    "SELECT i.indisvalid AND a.attname = :id"
    " AND strpos(pg_get_expr(i.indpred, i.indrelid), quote_literal(:running)) > 0"
    " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
    " WHERE i.indrelid = to_regclass(:table) AND c.relname = :index"
)
_IS_PLAIN_TABLE = sa.text("SELECT relkind = 'r' FROM pg_class WHERE oid = to_regclass(:table)")
_MARKED_COLUMNS = sa.text(
    "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attnum > 0"
    " AND NOT attisdropped AND col_description(attrelid, attnum) = :mark"
)


@dataclass(frozen=True, slots=True)
class Additions:
    """What a database lacks."""

    table: bool
    #: Names, as the application would call them.
    columns: tuple[str, ...]
    index: bool
    #: A concurrent build that failed leaves an index behind that costs and does not serve.
    broken_index: bool = False
    #: Where a new table goes; None: to wherever the connection creates tables.
    schema: str | None = None

    def __bool__(self) -> bool:
        return self.table or bool(self.columns) or self.index


def find_missing(connection: sa.Connection, names: TableNames, running: str) -> Additions:
    """Compare the database with what a pass needs. Reads only."""
    inspector = sa.inspect(connection)
    if not inspector.has_table(names.table, schema=names.schema):
        # A role that is called like our schema would create its tables in there.
        in_ours = connection.scalar(sa.select(sa.func.current_schema())) == OWN_SCHEMA
        schema = "public" if in_ours and names.schema is None else names.schema
        return Additions(table=True, columns=(), index=True, schema=schema)
    present = {column["name"] for column in inspector.get_columns(names.table, names.schema)}
    ours = (names.completed_at, names.error_message)
    parameters = {
        "table": _quoted(connection, names),
        "index": names.index,
        "id": names.id,
        "running": running,
    }
    serves: bool | None = connection.scalar(_INDEX_STATE, parameters)
    # On a partitioned table an index cannot be built concurrently, on a view not at all.
    plain = connection.scalar(_IS_PLAIN_TABLE, {"table": parameters["table"]})
    return Additions(
        table=False,
        columns=tuple(name for name in ours if name not in present),
        index=bool(plain) and serves is not True,
        broken_index=serves is False,
        schema=names.schema,
    )


def add_missing(op: Operations, names: TableNames, running: str, missing: Additions) -> None:
    """Add what is missing and touch nothing else.

    The index is built concurrently, in a transaction of its own: the application goes on reading
    and writing. Adding a column without a default takes no longer than its lock, which is waited
    for five seconds at most.
    """
    columns = default_columns(names, running)
    if missing.table:
        op.create_table(names.table, *columns.values(), schema=missing.schema)
    for name in missing.columns:
        column = sa.Column(name, columns[name].type, comment=MARK)
        op.add_column(names.table, column, schema=names.schema)
    if not missing.index:
        return
    with op.get_context().autocommit_block():
        if missing.broken_index:
            _drop_index(op, names)
        op.create_index(
            names.index,
            names.table,
            [names.id],
            schema=missing.schema,
            postgresql_concurrently=True,
            postgresql_where=is_running(sa.column(names.status), running),
        )


def remove_added(op: Operations, names: TableNames) -> None:
    """Take out what `add_missing` added. The table itself stays, whoever made it: it has rows."""
    connection = op.get_bind()
    table = _quoted(connection, names)
    marked = connection.scalars(_MARKED_COLUMNS, {"table": table, "mark": MARK}).all()
    for name in marked:
        op.drop_column(names.table, name, schema=names.schema)
    with op.get_context().autocommit_block():
        _drop_index(op, names)


def _drop_index(op: Operations, names: TableNames) -> None:
    op.drop_index(
        names.index,
        names.table,
        schema=names.schema,
        if_exists=True,
        postgresql_concurrently=True,
    )


def _quoted(connection: sa.Connection, names: TableNames) -> str:
    quote = connection.dialect.identifier_preparer.quote
    return ".".join(quote(part) for part in (names.schema, names.table) if part)
