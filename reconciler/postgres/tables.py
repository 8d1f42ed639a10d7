"""The tables: the application's, under whatever names it has, and our own.

Ours live in a schema of their own so that they never collide with the application's. Alembic
compares `OWN` with the database; the application's table is reflected, not declared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

OWN_SCHEMA = "reconciler"
#: The migration this version of the code goes with; revisions sort as text.
REVISION = "0004"
OWN = sa.MetaData(schema=OWN_SCHEMA)

_TIME = sa.DateTime(timezone=True)


@dataclass(frozen=True, slots=True)
class TableNames:
    """What the application calls its table and the columns we read or write."""

    table: str = "workflow_executions"
    #: None: found by the connection's search_path.
    schema: str | None = None
    id: str = "id"
    workflow_id: str = "workflow_id"
    run_id: str = "run_id"
    status: str = "status"
    created_at: str = "created_at"
    completed_at: str = "completed_at"
    error_message: str = "error_message"
    #: May not exist: only a backfill by workflow type reads it.
    workflow_type: str = "workflow_type"

    @property
    def full_name(self) -> str:
        """The table's name as the operator wrote it."""
        return f"{self.schema}.{self.table}" if self.schema else self.table

    @property
    def index(self) -> str:
        """The name of our partial index over the running rows."""
        return f"reconciler_{self.table}_running"[:63]  # PostgreSQL's limit

    @property
    def read(self) -> tuple[str, ...]:
        """The columns a pass reads."""
        return (self.id, self.workflow_id, self.run_id, self.status, self.created_at)

    @property
    def written(self) -> tuple[str, ...]:
        """The columns a pass writes."""
        return (self.status, self.completed_at, self.error_message)


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
    sa.Column("error", sa.Text),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    # What it was a pass over; null in passes from before revision 0003.
    sa.Column("table_name", sa.Text),
    sa.Column("namespace", sa.Text),
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
    sa.Column("table_name", sa.Text, primary_key=True),
    sa.Column("namespace", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
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


def default_columns(names: TableNames, running: str) -> dict[str, sa.Column[Any]]:
    """The columns of the table that `migrate` creates where the application has none yet."""
    columns: list[sa.Column[Any]] = [
        sa.Column(names.id, sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column(names.workflow_id, sa.Text, nullable=False, index=True),
        sa.Column(names.run_id, sa.Text, comment="first run of the chain"),
        sa.Column(names.workflow_type, sa.Text),
        sa.Column(names.status, sa.Text, nullable=False, server_default=running),
        sa.Column(names.created_at, _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column(names.completed_at, _TIME, comment="Temporal's close time"),
        sa.Column(names.error_message, sa.Text, comment="the failure in one line"),
    ]
    return {column.name: column for column in columns}


def is_running(status: sa.ColumnElement[Any], running: str) -> sa.ColumnElement[bool]:
    """The predicate of the partial index, and of every statement that is to use it.

    The value is a constant without a type: PostgreSQL gives it the column's, be that text or an
    enum, and recognises the predicate.
    """
    constant = "'" + running.replace("'", "''") + "'"
    return status == sa.literal_column(constant)
