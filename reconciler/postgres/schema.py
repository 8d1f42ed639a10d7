"""reconciler's own tables: passes, the lease, the feed's marks, the journal, what is stuck.

They have their own schema, so they never collide with the application's. Alembic
compares `METADATA` with the database; the application's table is reflected, not declared.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.core.model import Mode
from reconciler.postgres.connection.encoding import EscapedText

OWN_SCHEMA = "reconciler"
#: The migration this version of the code goes with; revisions sort as text.
REVISION = "0007"
METADATA = sa.MetaData(schema=OWN_SCHEMA)

_TIME = sa.DateTime(timezone=True)


def is_good(outcome: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Whether a pass completed: with constants, so that the heartbeat's index is used."""
    return outcome.in_([sa.literal_column("'ok'"), sa.literal_column("'unresolved'")])


def is_whole(mode: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Whether a pass looked at every row, and so counts as a sign of life; with constants too."""
    return mode.in_([sa.literal_column(f"'{each.value}'") for each in Mode if each.is_whole])


def is_not_of_feed(mode: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Whether a pass is none of the feed's, of which there may be one per second."""
    return mode != sa.literal_column(f"'{Mode.FEED.value}'")


#: One row per pass: the history, and the heartbeat of the reconciler.
passes = sa.Table(
    "passes",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("started_at", _TIME, nullable=False),
    # Null while the pass runs, and forever if it was killed.
    sa.Column("finished_at", _TIME),
    sa.Column("outcome", sa.Text),
    sa.Column("report", postgresql.JSONB),
    sa.Column("error", EscapedText),
    sa.Column("host", EscapedText, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    # The table; null in passes from before revision 0003.
    sa.Column("table_name", EscapedText),
    sa.Column("namespace", EscapedText),
    # The request, if not a pass over every row; the same request resumes it.
    sa.Column("asked", postgresql.JSONB),
    # How far it has come, and which process runs it; null if there is nothing to resume.
    sa.Column("cursor", postgresql.JSONB),
    sa.Index("passes_started_at", "started_at"),
)
sa.Index(
    "passes_heartbeat",
    passes.c.table_name,
    passes.c.namespace,
    passes.c.finished_at,
    postgresql_where=sa.and_(is_good(passes.c.outcome), is_whole(passes.c.mode)),
)
# So that all other passes are found however many the feed has made.
sa.Index(
    "passes_not_of_feed",
    passes.c.started_at,
    passes.c.mode,
    postgresql_where=is_not_of_feed(passes.c.mode),
)
# In which namespaces workflows were found: a list in each report.
sa.Index(
    "passes_found_in", sa.text("(report -> 'found_in')"), postgresql_using="gin", _table=passes
)


def found_in() -> sa.ColumnElement[Any]:
    """The list in a pass's report of namespaces, by id, as in its index: `[]` would not be."""
    return passes.c.report.op("->")(sa.literal_column("'found_in'"))


def recorded_at() -> sa.ColumnElement[Any]:
    """When the progress of a pass was last recorded, by the database's clock."""
    return sa.cast(passes.c.cursor["noted_at"].astext, _TIME)


#: Which replica of `reconciler run` may pass over a table, and until when.
lease = sa.Table(
    "lease",
    METADATA,
    sa.Column("table_name", EscapedText, primary_key=True),
    sa.Column("namespace", EscapedText, primary_key=True),
    sa.Column("holder", EscapedText, nullable=False),
    # Counts the holders: a holder with a smaller number has lost the lease.
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("expires_at", _TIME, nullable=False),
)

#: The closings feed's marks: up to which close time the closings of a status are dealt with.
closings = sa.Table(
    "closings",
    METADATA,
    # What a pass covers: see `passes`.
    sa.Column("table_name", EscapedText, primary_key=True),
    # Temporal's, which another cluster or a new namespace of the same name does not have.
    sa.Column("namespace_id", EscapedText, primary_key=True),
    sa.Column("status", sa.Text, primary_key=True),
    # The namespace's name when they were saved.
    sa.Column("namespace", EscapedText, nullable=False),
    sa.Column("mark", _TIME, nullable=False),
    sa.Column("saved_at", _TIME, nullable=False),
)

#: The journal: one row per row changed, written by the statement that changes it.
changes = sa.Table(
    "changes",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("pass_id", sa.Uuid, sa.ForeignKey(passes.c.id), nullable=False),
    sa.Column("changed_at", _TIME, nullable=False, server_default=sa.func.now()),
    # The row: the table as the settings name it, and the primary key as text.
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("row_id", sa.Text, nullable=False),
    sa.Column("workflow_id", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text),
    sa.Column("old_status", sa.Text),
    sa.Column("new_status", sa.Text),
    sa.Column("old_completed_at", _TIME),
    sa.Column("new_completed_at", _TIME),
    sa.Column("old_error_message", sa.Text),
    sa.Column("new_error_message", sa.Text),
    # The evidence from Temporal.
    sa.Column("temporal_status", sa.Text, nullable=False),
    sa.Column("final_run_id", sa.Text),
    sa.Column("close_time", _TIME),
    # How the pass found the row, such as `feed`; null in changes from before revision 0006.
    sa.Column("found_by", sa.Text),
    # Evidence too; null if Temporal did not say, and in changes from before revision 0007.
    sa.Column("workflow_type", sa.Text),
    sa.Index("changes_of_pass", "pass_id", "id"),
    sa.Index("changes_workflow_id", "workflow_id"),
    # For what was repaired in the last 24 hours.
    sa.Index("changes_changed_at", "changed_at"),
)


def _of_running_rows(name: str, *others: sa.Column[Any]) -> sa.Table:
    """One row for each running row that something is wrong with; removed when nothing is."""
    texts = [sa.Column(each, EscapedText, nullable=False) for each in ("workflow_id", "text")]
    return sa.Table(
        name,
        METADATA,
        # What a pass covers: see `passes`.
        sa.Column("table_name", EscapedText, primary_key=True),
        sa.Column("namespace", EscapedText, primary_key=True),
        # The primary key as text.
        sa.Column("row_id", sa.Text, primary_key=True),
        *texts,
        sa.Column("reason", sa.Text, nullable=False),
        # The earliest time that Temporal named, or that a pass saw it; when a pass last saw it.
        sa.Column("since", _TIME, nullable=False),
        sa.Column("seen", _TIME, nullable=False),
        *others,
    )


#: Rows whose workflows are open and not healthy.
stuck = _of_running_rows(
    "stuck",
    # The open run.
    sa.Column("run_id", EscapedText, nullable=False),
    sa.Column("workflow_type", EscapedText, nullable=False),
    # What groups them.
    sa.Column("cause", EscapedText, nullable=False),
)
#: Rows that Temporal does not know, or gives no usable answer about.
at_risk = _of_running_rows(
    "at_risk",
    # When Temporal forgets the outcome, at the earliest; null if the row's age is not known.
    sa.Column("lost_at", _TIME),
)


def is_over(scope: str, namespace: str | None = None) -> sa.ColumnElement[bool]:
    """That a pass covered what the passes of one configuration do: see `table.scope`."""
    same = passes.c.table_name == scope
    return same if namespace is None else sa.and_(same, passes.c.namespace == namespace)


def judged_by(columns: str) -> sa.ColumnElement[bool]:
    """That a pass was over the same table and columns, whatever its rows: see `table.scope`."""
    start = sa.literal(f"{columns} where ", EscapedText)
    some_rows = sa.func.starts_with(passes.c.table_name, start)
    return sa.or_(passes.c.table_name == columns, some_rows)


def made_by(which: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """That a change was made by one of these passes."""
    return changes.c.pass_id.in_(sa.select(passes.c.id).where(which))


def written_by(pass_id: UUID) -> sa.Select[Any]:
    """How many rows a pass has written, by their new status."""
    counts = sa.select(changes.c.new_status, sa.func.count()).group_by(changes.c.new_status)
    return counts.where(changes.c.pass_id == pass_id)
