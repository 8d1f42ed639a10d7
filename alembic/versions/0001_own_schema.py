"""The reconciler's tables: the history of passes and the journal of changes.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = "reconciler"
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "passes",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.Column("outcome", sa.Text),
        sa.Column("report", postgresql.JSONB),
        sa.Column("error", sa.Text),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        schema=SCHEMA,
    )
    op.create_index("passes_started_at", "passes", ["started_at"], schema=SCHEMA)
    op.create_table(
        "changes",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("pass_id", sa.Uuid, sa.ForeignKey(f"{SCHEMA}.passes.id"), nullable=False),
        sa.Column("changed_at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column("row_id", sa.Text, nullable=False),
        sa.Column("workflow_id", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("old_status", sa.Text, nullable=False),
        sa.Column("new_status", sa.Text, nullable=False),
        sa.Column("old_completed_at", TIME),
        sa.Column("new_completed_at", TIME),
        sa.Column("old_error_message", sa.Text),
        sa.Column("new_error_message", sa.Text),
        sa.Column("temporal_status", sa.Text, nullable=False),
        sa.Column("final_run_id", sa.Text),
        sa.Column("close_time", TIME),
        schema=SCHEMA,
    )
    op.create_index("changes_pass_id", "changes", ["pass_id"], schema=SCHEMA)
    op.create_index("changes_workflow_id", "changes", ["workflow_id"], schema=SCHEMA)
