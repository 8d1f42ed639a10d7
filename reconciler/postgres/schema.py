"""Our own tables: the history of passes, the lease, the journal.

They live in a schema of their own so that they never collide with the application's. Alembic
compares `OWN` with the database; the application's table is reflected, not declared.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.postgres.connection.own_text import OwnText

OWN_SCHEMA = "reconciler"
#: The migration this version of the code goes with; revisions sort as text.
REVISION = "0004"
OWN = sa.MetaData(schema=OWN_SCHEMA)

_TIME = sa.DateTime(timezone=True)


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


def written_by(pass_id: UUID) -> sa.Select[Any]:
    """How many rows a pass has written, by the status they got."""
    counts = sa.select(changes.c.new_status, sa.func.count()).group_by(changes.c.new_status)
    return counts.where(changes.c.pass_id == pass_id)
