"""The application's table as it is in the database: reflected, and checked against the mapping.

Types come from the database, so bigint, uuid and text keys, enums and timestamps without a zone
need no setting. A column that the table lacks is read as null and not written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import RowId
from reconciler.postgres.connection.encoding import python_codec, read_as_bytes
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import transacting
from reconciler.postgres.table.checks.message_length import longest_message
from reconciler.postgres.table.checks.table import (
    Requirements,
    TableUnfit,
    check_primary,
    find_problems,
)
from reconciler.postgres.table.keys import Key
from reconciler.postgres.table.names import TableMapping, is_looked_up, is_running
from reconciler.postgres.table.relation import Relation, find_relation, quoted_name
from reconciler.postgres.table.scope import scope_of
from reconciler.postgres.table.time_zones import MAX_SHIFT, is_zone_certain, zoneless
from reconciler.postgres.table.types import as_instant, as_text
from reconciler.postgres.table.workflow_ids import WorkflowIds

#: The namespace of a pass if each row has its own.
ANY_NAMESPACE = "*"
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class MappedTable:
    """The application's table, with its columns under reconciler's names."""

    table: sa.Table
    mapping: TableMapping
    #: The table's schema and name in the database, not as typed.
    relation: Relation
    #: How much older than it is a row may look, because creation times may be in another time zone.
    shift: timedelta = timedelta(0)

    @property
    def full_name(self) -> str:
        """The table's name as the operator wrote it: for people to read."""
        return self.mapping.names.full_name

    @property
    def identity(self) -> str:
        """The table's name in records: the same, however it was typed."""
        return self.relation.identity

    def beside(self, name: str) -> str:
        """A name for a CTE or the like, different from the table's."""
        return f"{name}_" if name == self.table.name else name

    @property
    def scope(self) -> str:
        """What a pass covers, as records have it."""
        return scope_of(self.identity, self.mapping)

    def scope_namespace(self, of_connection: str) -> str:
        """The namespace of a pass: the connection's, or `*` if each row has its own."""
        return of_connection if self.mapping.names.namespace is None else ANY_NAMESPACE

    @property
    def id(self) -> sa.Column[Any]:
        """The primary key."""
        return self.table.c[self.mapping.names.id]

    @property
    def key(self) -> Key:
        """How keys are read and written."""
        return Key(self.id, self.relation.encoding)

    @property
    def workflow_ids(self) -> WorkflowIds:
        """How workflow ids are composed of columns, and looked up."""
        template = self.mapping.names.template
        columns = tuple(self.table.c[name] for name in template.columns)
        return WorkflowIds(template, columns, self.mapping.zone)

    @property
    def workflow_id(self) -> sa.ColumnElement[Any]:
        """Temporal's workflow id, as text."""
        return self.workflow_ids.text

    @property
    def has_workflow_id(self) -> sa.ColumnElement[bool]:
        """That a workflow id is stored in a row, and not null or an empty text."""
        return sa.func.coalesce(self.workflow_id, "") != ""

    @property
    def status(self) -> sa.Column[Any]:
        """The status."""
        return self.table.c[self.mapping.names.status]

    @property
    def run_id(self) -> sa.Column[Any] | None:
        """The first run of the chain."""
        return self.optional(self.mapping.names.run_id)

    @property
    def has_no_run_id(self) -> sa.ColumnElement[bool]:
        """That no run id is stored in a row, or null or an empty text."""
        if (column := self.run_id) is None:
            return sa.true()
        return sa.func.coalesce(as_text(column), "") == ""

    @property
    def is_whole(self) -> sa.ColumnElement[bool]:
        """That row-level security does not apply to this role, and so hides no row from it."""
        return sa.not_(sa.func.row_security_active(self.regclass))

    @property
    def regclass(self) -> sa.ColumnElement[Any]:
        """The table that has this name now."""
        return sa.func.to_regclass(sa.literal(quoted_name(_DIALECT, self.mapping.names)))

    @property
    def namespace(self) -> sa.Column[Any] | None:
        """Temporal's namespace of the row's workflow."""
        return self.optional(self.mapping.names.namespace)

    @property
    def created_at(self) -> sa.ColumnElement[Any]:
        """When the row was inserted, as timestamptz."""
        return as_instant(self.optional(self.mapping.names.created_at), self.mapping.zone)

    @property
    def updated_at(self) -> sa.ColumnElement[Any]:
        """When anybody last changed the row, as timestamptz."""
        return as_instant(self.optional(self.mapping.names.updated_at), self.mapping.zone)

    @property
    def zoneless(self) -> list[sa.Column[Any]]:
        """The columns with times that have no zone."""
        return zoneless(self.table, self.mapping.names)

    @property
    def workflow_type(self) -> sa.ColumnElement[Any]:
        """The workflow type, as text."""
        return as_text(self.optional(self.mapping.names.workflow_type))

    @property
    def may_repeat_keys(self) -> bool:
        """Whether a key may be unique only together with other columns, such as a tenant's id."""
        return self.relation.kind == "partitioned table" or not self.relation.has_unique_keys

    @property
    def codec(self) -> str:
        """Python's codec for the database's encoding."""
        return python_codec(self.relation.encoding)

    @property
    def error_message_length(self) -> int | None:
        """The column's own limit in characters; None if it has none."""
        return longest_message(self.optional(self.mapping.names.error_message))

    @property
    def is_included(self) -> sa.ColumnElement[bool]:
        """That passes cover a row, if it is running: it matches `where`."""
        where = self.mapping.where
        return sa.true() if where is None else where.holds(self.table)

    @property
    def is_running(self) -> sa.ColumnElement[bool]:
        """That a row is marked as running, and passes cover it."""
        return sa.and_(is_running(self.status, self.mapping.statuses.running), self.is_included)

    @property
    def is_looked_up(self) -> sa.ColumnElement[bool]:
        """The same for rows that are found by their workflow ids.

        By the index for that; or, if the key is the workflow id and nothing else finds it, by that
        on the keys of running rows.
        """
        names = self.mapping.names
        if names.template.columns == (names.id,) and not self.relation.finds_keys:
            return self.is_running
        found = is_looked_up(self.status, self.mapping.statuses.running)
        return sa.and_(found, self.is_included)

    def written(self) -> Mapping[str, sa.ColumnElement[Any]]:
        """The columns that a write changes, in the types of the journal."""
        names = self.mapping.names
        return {
            "status": as_text(self.status),
            "completed_at": as_instant(self.optional(names.completed_at), self.mapping.zone),
            "error_message": as_text(self.optional(names.error_message)),
        }

    def read_id(self, value: int | str) -> RowId:
        """An id from JSON as the driver has it. Raises `ValueError` if the table cannot have it."""
        return self.key.parse(value)

    def read_text(self, text: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Text to select: as bytes, if one row's text could fail the whole statement."""
        if not read_as_bytes(self.relation.encoding):
            return text
        return sa.func.convert_to(text, self.relation.encoding, type_=sa.LargeBinary)

    def optional(self, name: str | None) -> sa.Column[Any] | None:
        """The column; None if there is none, or `reconciler migrate` has not added it yet."""
        return None if name is None else self.table.c.get(name)


async def map_table(
    engine: AsyncEngine,
    mapping: TableMapping,
    *,
    writing: bool,
    also: Sequence[str] = (),
    dry_run: bool = False,
    partial: bool = False,
) -> MappedTable:
    """Reflect the table and check that it can be used.

    Raises `DatabaseUnfit` with everything that is wrong, or `DatabaseUnusable` if the server does
    not accept writes now. With `writing=False` the columns to write may be missing. `dry_run`:
    also refuse a table that writes would be refused for, apart from rights and missing columns.
    `also`: further columns to read. `partial`: row-level security may hide rows.
    """
    names = mapping.names
    with translated(f"read {names.full_name}", engine):
        async with transacting(engine) as connection:
            if writing:
                await check_primary(connection)
            relation, table = await find_relation(connection, mapping, also)
            required = Requirements(
                mapping, also, writing=writing or dry_run, fitting=dry_run, partial=partial
            )
            if problems := await find_problems(connection, relation, table, required):
                raise TableUnfit(problems)
            certain = await is_zone_certain(connection, relation, table, mapping)
            return MappedTable(table, mapping, relation, timedelta(0) if certain else MAX_SHIFT)
