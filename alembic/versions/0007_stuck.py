"""Rows whose workflows are stuck or about to be lost; the workflow type and an index of changes.

Only adds: replicas of the previous version keep running passes while new ones start.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SCHEMA = "reconciler"
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("changes", sa.Column("workflow_type", sa.Text), schema=SCHEMA)
    _create("stuck", _text("run_id"), _text("workflow_type"), _text("cause"))
    _create("at_risk", sa.Column("lost_at", TIME))
    _index_changes()


def _create(name: str, *others: sa.Column[object]) -> None:
    op.create_table(
        name,
        *(sa.Column(key, sa.Text, primary_key=True) for key in ("table_name", "namespace")),
        sa.Column("row_id", sa.Text, primary_key=True),
        *(_text(column) for column in ("workflow_id", "reason", "text")),
        sa.Column("since", TIME, nullable=False),
        sa.Column("seen", TIME, nullable=False),
        *others,
        schema=SCHEMA,
    )


def _text(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Text, nullable=False)


def _index_changes() -> None:
    """Build it without blocking passes that write to the journal."""
    concurrently = {"schema": SCHEMA, "postgresql_concurrently": True}
    with op.get_context().autocommit_block():
        # From a failed attempt.
        op.drop_index("changes_changed_at", "changes", if_exists=True, **concurrently)
        op.create_index("changes_changed_at", "changes", ["changed_at"], **concurrently)
