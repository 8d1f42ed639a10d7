"""The application's table as it really is: reflected at the start and checked against the names.

Types are taken from the database, so that bigint, uuid and text keys, enums and timestamps
without a zone need no setting.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from reconciler.core.model import RowId
from reconciler.errors import DatabaseUnfit
from reconciler.postgres.engine import translated
from reconciler.postgres.tables import TableNames, is_running


@dataclass(frozen=True, slots=True)
class MappedTable:
    """The application's table, with its columns under our names."""

    table: sa.Table
    names: TableNames
    #: The status value that marks a row as running.
    running: str

    @property
    def full_name(self) -> str:
        """The table's name as the operator wrote it."""
        return self.names.full_name

    @property
    def id(self) -> sa.Column[Any]:
        """The primary key."""
        return self.table.c[self.names.id]

    @property
    def workflow_id(self) -> sa.Column[Any]:
        """Temporal's workflow id."""
        return self.table.c[self.names.workflow_id]

    @property
    def run_id(self) -> sa.Column[Any]:
        """The first run of the chain."""
        return self.table.c[self.names.run_id]

    @property
    def status(self) -> sa.Column[Any]:
        """The status."""
        return self.table.c[self.names.status]

    @property
    def created_at(self) -> sa.Column[Any]:
        """When the row was inserted."""
        return self.table.c[self.names.created_at]

    @property
    def completed_at(self) -> sa.Column[Any]:
        """Gets Temporal's close time."""
        return self.table.c[self.names.completed_at]

    @property
    def error_message(self) -> sa.Column[Any]:
        """Gets the failure in one line."""
        return self.table.c[self.names.error_message]

    @property
    def error_message_length(self) -> int | None:
        """The column's own limit in characters; None if it has none."""
        column = self.table.c.get(self.names.error_message)
        return None if column is None else getattr(column.type, "length", None)

    @property
    def is_running(self) -> sa.ColumnElement[bool]:
        """Whether a row is marked as running."""
        return is_running(self.status, self.running)

    def read_id(self, value: int | str) -> RowId:
        """An id as the driver knows it, from a number or a text."""
        kind = _base(self.id.type)
        if isinstance(value, str) and isinstance(kind, sa.Uuid):
            return UUID(value)
        if isinstance(value, str) and isinstance(kind, sa.Integer):
            return int(value)
        return value

    def check_noted_key(self) -> None:
        """Check that an id can be written down and read again. Raises `DatabaseUnfit`."""
        if not isinstance(_base(self.id.type), sa.Uuid | sa.Integer | sa.String):
            raise DatabaseUnfit(
                f"column {self.names.id} of {self.full_name} is of type {self.id.type}: "
                "a backfill needs a key of type bigint, integer, uuid or text"
            )

    def select_rows(self) -> sa.Select[Any]:
        """The columns of `RunRow`, in its order."""
        # Temporal refuses an empty workflow id, row by row.
        workflow_id = sa.func.coalesce(sa.cast(self.workflow_id, sa.Text), "")
        return sa.select(
            self.id.label("id"),
            workflow_id.label("workflow_id"),
            sa.cast(self.run_id, sa.Text).label("run_id"),
            readable(self.as_utc(self.created_at)).label("created_at"),
        )

    @staticmethod
    def as_utc(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        """The column as timestamptz; a timestamp without zone is taken as UTC."""
        return column if _has_zone(column) else sa.func.timezone("UTC", column)

    @staticmethod
    def as_stored(column: sa.Column[Any], text: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Text as the column takes it. A cast to varchar(n) would cut it without a word."""
        plain = isinstance(column.type, sa.String) and not isinstance(column.type, sa.Enum)
        return text if plain else sa.cast(text, column.type)

    def from_utc(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """A timestamptz as the completion column stores it."""
        return value if _has_zone(self.completed_at) else sa.func.timezone("UTC", value)


def _base(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """The type that a domain is made of."""
    while isinstance(kind, postgresql.DOMAIN):
        kind = kind.data_type
    return kind


def readable(time: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The time, or null if it is infinite or of a year that Python cannot hold."""
    possible = time.between(sa.literal_column("'0001-01-02Z'"), sa.literal_column("'9999-12-30Z'"))
    return sa.case((possible, time))


def _has_zone(column: sa.Column[Any]) -> bool:
    return bool(getattr(column.type, "timezone", False))


async def map_table(
    engine: AsyncEngine,
    names: TableNames,
    running: str,
    *,
    writing: bool,
    also: Sequence[str] = (),
) -> MappedTable:
    """Reflect the table and check that it can be used, before anything is asked of Temporal.

    Raises `DatabaseUnfit`, naming everything that is missing at once. What only reads
    (`writing=False`) does not need the columns that are written. `also`: further columns to read.
    """
    read = (*names.read, *also)
    with translated(f"read {names.full_name}", engine):
        async with engine.connect() as connection:
            table = await _reflect(connection, names)
            _check_columns(table, names, read + (names.written if writing else ()))
            await _check_key(connection, table, names)
            await _check_privileges(connection, table, names, read, writing=writing)
            return MappedTable(table, names, running)


async def _reflect(connection: AsyncConnection, names: TableNames) -> sa.Table:
    def reflect(sync: sa.Connection) -> sa.Table:
        # Other columns may be of types that SQLAlchemy does not know, and would warn about.
        with warnings.catch_warnings(action="ignore", category=sa.exc.SAWarning):
            return sa.Table(
                names.table,
                sa.MetaData(),
                schema=names.schema,
                autoload_with=sync,
                include_columns=(*names.read, *names.written, names.workflow_type),
                resolve_fks=False,
            )

    try:
        return await connection.run_sync(reflect)
    except sa.exc.NoSuchTableError:
        raise DatabaseUnfit(
            f"there is no table {names.full_name} in this database: "
            "set RECONCILER_TABLE, or create it with `reconciler migrate`"
        ) from None


def _check_columns(table: sa.Table, names: TableNames, needed: Sequence[str]) -> None:
    missing = [name for name in dict.fromkeys(needed) if name not in table.c]
    if missing:
        raise DatabaseUnfit(
            f"table {names.full_name} has no column {', '.join(missing)}: "
            "set RECONCILER_COLUMNS__*, or run `reconciler migrate`"
        )


_UNIQUE_ALONE = sa.text(
    "SELECT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a"
    " ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
    " WHERE i.indrelid = to_regclass(:table) AND i.indisunique AND i.indisvalid"
    " AND i.indnkeyatts = 1 AND i.indpred IS NULL AND a.attname = :column AND a.attnotnull)"
)


async def _check_key(connection: AsyncConnection, table: sa.Table, names: TableNames) -> None:
    """A write that finds its row by a column that is not unique would finish its namesakes too."""
    relation = connection.dialect.identifier_preparer.format_table(table)
    if not await connection.scalar(_UNIQUE_ALONE, {"table": relation, "column": names.id}):
        raise DatabaseUnfit(
            f"column {names.id} of {names.full_name} does not identify a row: it must be the whole "
            "primary key, or NOT NULL and UNIQUE; set RECONCILER_COLUMNS__ID"
        )


async def _check_privileges(
    connection: AsyncConnection,
    table: sa.Table,
    names: TableNames,
    read: Sequence[str],
    *,
    writing: bool,
) -> None:
    needed = [("SELECT", name) for name in read]
    if writing:
        needed += [("SELECT", name) for name in names.written if name not in read]
        needed += [("UPDATE", name) for name in names.written]
    relation = sa.cast(connection.dialect.identifier_preparer.format_table(table), sa.Text)
    granted = sa.select(
        *(sa.func.has_column_privilege(relation, name, right) for right, name in needed)
    )
    row = (await connection.execute(granted)).one()
    refused = [f"{right} ({name})" for (right, name), ok in zip(needed, row, strict=True) if not ok]
    if refused:
        user = await connection.scalar(sa.select(sa.func.quote_ident(sa.func.current_user())))
        raise DatabaseUnfit(
            f"role {user} may not use table {names.full_name}: "
            f"GRANT {', '.join(refused)} ON {names.full_name} TO {user}"
        )
