"""The tables: the application's, under whatever names it has, and our own.

Ours live in a schema of their own so that they never collide with the application's. Alembic
compares `OWN` with the database; the application's table is reflected, not declared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.core.verdict import StatusValues
from reconciler.postgres.connection.own_text import OwnText

OWN_SCHEMA = "reconciler"
#: The migration this version of the code goes with; revisions sort as text.
REVISION = "0004"
#: The bytes of a name in PostgreSQL.
MAX_NAME = 63
OWN = sa.MetaData(schema=OWN_SCHEMA)

_TIME = sa.DateTime(timezone=True)


@dataclass(frozen=True, slots=True)
class TableNames:
    """What the application calls its table and the columns we read or write.

    None stands for a column that the table has not; docs/tables.md says what is lost without it.
    """

    table: str = "workflow_executions"
    #: None: found by the connection's search_path.
    schema: str | None = None
    id: str = "id"
    workflow_id: str = "workflow_id"
    run_id: str | None = "run_id"
    status: str = "status"
    created_at: str | None = "created_at"
    completed_at: str | None = "completed_at"
    error_message: str | None = "error_message"
    #: Only a backfill by workflow type reads it; it need not exist otherwise.
    workflow_type: str = "workflow_type"
    #: Temporal's namespace of the row's workflow.
    namespace: str | None = None

    @property
    def full_name(self) -> str:
        """The table's name as the operator wrote it."""
        return f"{self.schema}.{self.table}" if self.schema else self.table

    @property
    def index(self) -> str:
        """The name of our partial index over the running rows."""
        return index_name(self.table)

    @property
    def read(self) -> tuple[str, ...]:
        """The columns a pass reads."""
        optional = (self.run_id, self.created_at, self.namespace)
        return (self.id, self.workflow_id, self.status, *filter(None, optional))

    @property
    def written(self) -> tuple[str, ...]:
        """The columns a pass writes."""
        return (self.status, *self.filled)

    @property
    def filled(self) -> tuple[str, ...]:
        """The columns that a pass writes besides the status: what `migrate` adds if need be."""
        return tuple(filter(None, (self.completed_at, self.error_message)))


@dataclass(frozen=True, slots=True)
class RowFilter:
    """That a column has one of some values: rows of others are not ours to look at."""

    column: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        """The same for the same rows, whatever order the values were given in."""
        return f"{self.column} = {', '.join(map(_quoted, sorted(self.values)))}"


@dataclass(frozen=True, slots=True)
class TableMapping:
    """How the application's table is to be understood, before anybody has looked at it."""

    names: TableNames = field(default_factory=TableNames)
    statuses: StatusValues = field(default_factory=StatusValues)
    where: RowFilter | None = None

    @property
    def read(self) -> tuple[str, ...]:
        """The columns a pass reads."""
        if self.where is None or self.where.column in self.names.read:
            return self.names.read
        return (*self.names.read, self.where.column)


def _quoted(value: str) -> str:
    """A value that could be taken for several is put in quotes, as in the settings."""
    return '"' + value.replace('"', '""') + '"' if set(value) & set(',"') else value


def index_name(table: str) -> str:
    """The name of our partial index over the running rows of a table, or of a partition.

    PostgreSQL would cut a name that is longer than 63 bytes, and take two tables' for one.
    """
    name = f"reconciler_{table}_running"
    if len(name.encode()) <= MAX_NAME:
        return name
    digest = sha256(table.encode()).hexdigest()[:8]
    room = MAX_NAME - len(f"reconciler__{digest}_running")
    return f"reconciler_{table.encode()[:room].decode(errors='ignore')}_{digest}_running"


def is_good(outcome: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Whether a pass came to its end: as constants, so that the heartbeat's index serves."""
    return outcome.in_([sa.literal_column("'ok'"), sa.literal_column("'unresolved'")])


#: One row per pass: the history, and the heartbeat of the reconciler.
passes = sa.Table(
    "passes",
    OWN,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("started_at", _TIME, nullable=False),
    # Null while the pass runs, and for ever if it was killed.
    sa.Column("finished_at", _TIME),
    sa.Column("outcome", sa.Text),
    sa.Column("report", postgresql.JSONB),
    sa.Column("error", OwnText),
    sa.Column("host", OwnText, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    # What it was a pass over; null in passes from before revision 0003.
    sa.Column("table_name", OwnText),
    sa.Column("namespace", OwnText),
    # What it was asked to do, if not to pass over every row; the same again goes on with it.
    sa.Column("asked", postgresql.JSONB),
    # How far it has come, and who is at it; null if there is nothing to go on with.
    sa.Column("cursor", postgresql.JSONB),
    sa.Index("passes_started_at", "started_at"),
)
sa.Index(
    "passes_heartbeat",
    passes.c.table_name,
    passes.c.namespace,
    passes.c.finished_at,
    postgresql_where=is_good(passes.c.outcome),
)


def noted_at() -> sa.ColumnElement[Any]:
    """When it was noted down last how far a pass has come, by the database's clock."""
    return sa.cast(passes.c.cursor["noted_at"].astext, _TIME)


#: Which replica of `reconciler run` passes over a table, and until when by the database's clock.
lease = sa.Table(
    "lease",
    OWN,
    sa.Column("table_name", OwnText, primary_key=True),
    sa.Column("namespace", OwnText, primary_key=True),
    sa.Column("holder", OwnText, nullable=False),
    # Counts the holders: whoever holds a smaller one has lost it.
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("expires_at", _TIME, nullable=False),
)

#: The journal: one row per row changed, written by the statement that changes it.
changes = sa.Table(
    "changes",
    OWN,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("pass_id", sa.Uuid, sa.ForeignKey(passes.c.id), nullable=False),
    sa.Column("changed_at", _TIME, nullable=False, server_default=sa.func.now()),
    # Which row: the table as it was named in the settings, and the primary key as text.
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("row_id", sa.Text, nullable=False),
    sa.Column("workflow_id", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text),
    sa.Column("old_status", sa.Text, nullable=False),
    sa.Column("new_status", sa.Text, nullable=False),
    sa.Column("old_completed_at", _TIME),
    sa.Column("new_completed_at", _TIME),
    sa.Column("old_error_message", sa.Text),
    sa.Column("new_error_message", sa.Text),
    # The evidence: what Temporal said.
    sa.Column("temporal_status", sa.Text, nullable=False),
    sa.Column("final_run_id", sa.Text),
    sa.Column("close_time", _TIME),
    sa.Index("changes_of_pass", "pass_id", "id"),
    sa.Index("changes_workflow_id", "workflow_id"),
)


def default_columns(mapping: TableMapping) -> dict[str, sa.Column[Any]]:
    """The columns of the table that `migrate` creates where the application has none yet."""
    names, running = mapping.names, mapping.statuses.running[0]
    columns = (
        _column(names.id, sa.BigInteger(), sa.Identity(), primary_key=True),
        _column(names.workflow_id, sa.Text(), nullable=False, index=True),
        _column(names.run_id, sa.Text(), comment="first run of the chain"),
        _column(names.workflow_type, sa.Text()),
        _column(names.namespace, sa.Text(), comment="Temporal's namespace"),
        _column(names.status, sa.Text(), nullable=False, server_default=running),
        _column(names.created_at, _TIME, nullable=False, server_default=sa.func.now()),
        _column(names.completed_at, _TIME, comment="Temporal's close time"),
        _column(names.error_message, sa.Text(), comment="the failure in one line"),
    )
    return {column.name: column for column in columns if column is not None}


def _column(
    name: str | None, kind: sa.types.TypeEngine[Any], *parts: sa.schema.SchemaItem, **options: Any
) -> sa.Column[Any] | None:
    return None if name is None else sa.Column(name, kind, *parts, **options)


def is_running(status: sa.ColumnElement[Any], running: Sequence[str]) -> sa.ColumnElement[bool]:
    """The predicate of the partial index, and of every statement that is to use it.

    The values are constants without a type: PostgreSQL gives them the column's, be that text or
    an enum, and recognises the predicate.
    """
    constants = [_constant(value) for value in running]
    return status == constants[0] if len(constants) == 1 else status.in_(constants)


def _constant(value: str) -> sa.ColumnElement[Any]:
    """The value as SQL, whatever the server takes a backslash in a plain constant for."""
    quoted = "'" + value.replace("'", "''") + "'"
    if "\\" in value or "%(" in value:
        # The latter is how SQLAlchemy begins a parameter, wherever it stands.
        quoted = "E" + quoted.replace("\\", "\\\\").replace("%(", "%\\x28")
    return sa.literal_column(quoted)


def written_by(pass_id: UUID) -> sa.Select[Any]:
    """How many rows a pass has written, by the status they got."""
    counts = sa.select(changes.c.new_status, sa.func.count()).group_by(changes.c.new_status)
    return counts.where(changes.c.pass_id == pass_id)
