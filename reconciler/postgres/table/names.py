"""The application's names for its table, its columns and their values; reconciler's index on it.

As the settings have them: `mapping` compares them with the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from reconciler.core.policy import StatusValues
from reconciler.postgres.table.row_filter import RowFilter
from reconciler.postgres.table.template import Template

#: The longest name in PostgreSQL, in bytes.
MAX_NAME = 63

#: What partial indexes are for, as their names end: pages of running rows, rows of workflow ids.
BY_KEY, BY_WORKFLOW_ID = "running", "workflow_id"

#: The time zone of columns without one, unless the settings name another.
UTC = "UTC"

_TIME = sa.DateTime(timezone=True)


@dataclass(frozen=True, slots=True)
class TableNames:
    """The names of the application's table and of the columns that passes read or write.

    None: the table has no such column; docs/tables.md says what is lost without it.
    """

    table: str = "workflow_executions"
    #: None: found by the connection's search_path.
    schema: str | None = None
    id: str = "id"
    #: A column, or a template of several such as `export/{batch}/{part}`.
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
    #: Set to now() by every write.
    updated_at: str | None = None

    @property
    def full_name(self) -> str:
        """The table's name as the operator wrote it."""
        return f"{self.schema}.{self.table}" if self.schema else self.table

    @property
    def index(self) -> str:
        """The name of the partial index on the running rows."""
        return index_name(self.table)

    @property
    def template(self) -> Template:
        """How the workflow id is composed of columns. Raises `ValueError`."""
        return Template.parse(self.workflow_id)

    @property
    def own_workflow_id(self) -> str | None:
        """The column that contains the workflow id and nothing else; None if there is none."""
        is_shared = not self.template.is_column or self.id == self.workflow_id
        return None if is_shared else self.workflow_id

    @property
    def read(self) -> tuple[str, ...]:
        """The columns a pass reads."""
        optional = filter(None, (self.run_id, self.created_at, self.namespace, self.updated_at))
        return tuple(dict.fromkeys((self.id, *self.template.columns, self.status, *optional)))

    @property
    def times(self) -> tuple[str, ...]:
        """The columns that hold a time."""
        return tuple(filter(None, (self.created_at, self.completed_at, self.updated_at)))

    @property
    def written(self) -> tuple[str, ...]:
        """The columns a pass writes."""
        return (self.status, *self.filled, *filter(None, (self.updated_at,)))

    @property
    def optional(self) -> tuple[str, ...]:
        """The columns that a table may lack."""
        read = (self.run_id, self.created_at, self.namespace, self.updated_at)
        return tuple(filter(None, (*read, *self.filled)))

    @property
    def filled(self) -> tuple[str, ...]:
        """The columns that a pass writes besides the status. `migrate` adds them if missing."""
        return tuple(filter(None, (self.completed_at, self.error_message)))


@dataclass(frozen=True, slots=True)
class TableMapping:
    """The meaning of the application's table, as the settings give it."""

    names: TableNames = field(default_factory=TableNames)
    statuses: StatusValues = field(default_factory=StatusValues)
    where: RowFilter | None = None
    #: In which columns without a time zone are read and written. None: the settings do not say.
    time_zone: str | None = None
    #: The key of the message in a column of documents: `{"message": "…"}`.
    message_key: str = "message"

    @property
    def zone(self) -> str:
        """The time zone of columns without one."""
        return self.time_zone or UTC

    @property
    def read(self) -> tuple[str, ...]:
        """The columns a pass reads."""
        filtered = () if self.where is None else self.where.columns
        return tuple(dict.fromkeys((*self.names.read, *filtered)))


def index_name(table: str, variant: str = "", purpose: str = BY_KEY) -> str:
    """The name of a partial index on the running rows of a table, or of a partition.

    `variant` distinguishes the indexes of several loops. At most `MAX_NAME` bytes: PostgreSQL would
    cut a longer name, which may no longer be unique.
    """
    name = "_".join(filter(None, ("reconciler", table, variant, purpose)))
    if len(name.encode()) <= MAX_NAME:
        return name
    digest = sha256(f"{table}{variant}".encode()).hexdigest()[:8]
    room = MAX_NAME - len(f"reconciler__{digest}_{purpose}")
    return f"reconciler_{table.encode()[:room].decode(errors='ignore')}_{digest}_{purpose}"


def default_columns(mapping: TableMapping) -> dict[str, sa.Column[Any]]:
    """The columns of the table that `migrate` creates if the application has none."""
    names, running = mapping.names, mapping.statuses.running
    columns = (
        _column(names.id, sa.BigInteger(), sa.Identity(), primary_key=True)
        if names.id != names.workflow_id
        else _column(names.id, sa.Text(), primary_key=True),
        _column(names.own_workflow_id, sa.Text(), nullable=False, index=True),
        _column(names.run_id, sa.Text(), comment="first run of the chain"),
        _column(names.workflow_type, sa.Text()),
        _column(names.namespace, sa.Text(), comment="Temporal's namespace"),
        _column(names.status, sa.Text(), nullable=None in running, server_default=running[0]),
        _column(names.created_at, _TIME, nullable=False, server_default=sa.func.now()),
        _column(names.completed_at, _TIME, comment="Temporal's close time"),
        _column(names.error_message, sa.Text(), comment="the failure in one line"),
        _column(names.updated_at, _TIME, nullable=False, server_default=sa.func.now()),
    )
    return {column.name: column for column in columns if column is not None}


def _column(
    name: str | None, kind: sa.types.TypeEngine[Any], *parts: sa.schema.SchemaItem, **options: Any
) -> sa.Column[Any] | None:
    return None if name is None else sa.Column(name, kind, *parts, **options)


def is_running(
    status: sa.ColumnElement[Any], running: Sequence[str | None]
) -> sa.ColumnElement[bool]:
    """The predicate of the partial index, and of every statement that uses it.

    The values are constants without a type: PostgreSQL gives them the column's, such as text or an
    enum, and recognises the predicate.
    """
    constants = [constant(value) for value in running if value is not None]
    has_one = status == constants[0] if len(constants) == 1 else status.in_(constants)
    if None not in running:
        return has_one
    is_null = status.is_(sa.null())
    return sa.or_(has_one, is_null) if constants else is_null


def is_looked_up(
    status: sa.ColumnElement[Any], running: Sequence[str | None]
) -> sa.ColumnElement[bool]:
    """The same, as the predicate of the index that finds running rows by their workflow ids.

    In a CASE, PostgreSQL neither estimates how few rows are running, nor takes the index on the
    keys of running rows for one that could serve as well.
    """
    return sa.case((is_running(status, running), sa.true()), else_=sa.false())


def constant(value: str) -> sa.ColumnElement[Any]:
    """The text as SQL, independent of `standard_conforming_strings`."""
    quoted = "'" + value.replace("'", "''") + "'"
    if "\\" in value or "%(" in value:
        # SQLAlchemy takes %( for a parameter, even in a constant.
        quoted = "E" + quoted.replace("\\", "\\\\").replace("%(", "%\\x28")
    return sa.literal_column(quoted)
