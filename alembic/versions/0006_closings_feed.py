"""How far the closings feed has come, and how each changed row was found.

The feed records up to one pass per second, so the indexes of the others leave its passes out.
Replicas of the previous version keep running passes while new ones start.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SCHEMA = "reconciler"
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("changes", sa.Column("found_by", sa.Text), schema=SCHEMA)
    op.create_table(
        "closings",
        sa.Column("table_name", sa.Text, primary_key=True),
        sa.Column("namespace_id", sa.Text, primary_key=True),
        sa.Column("status", sa.Text, primary_key=True),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("mark", TIME, nullable=False),
        sa.Column("saved_at", TIME, nullable=False),
        schema=SCHEMA,
    )
    _index_passes()


def _index_passes() -> None:
    """There are no passes of the feed yet, so this takes a moment."""
    op.drop_index("passes_heartbeat", "passes", schema=SCHEMA)
    good = "outcome IN ('ok', 'unresolved') AND mode IN ('once', 'run')"
    columns = ["table_name", "namespace", "finished_at"]
    _create_index("passes_heartbeat", columns, postgresql_where=sa.text(good))
    others = sa.text("mode != 'feed'")
    _create_index("passes_not_of_feed", ["started_at", "mode"], postgresql_where=others)
    found_in = sa.text("(report -> 'found_in')")
    _create_index("passes_found_in", [found_in], postgresql_using="gin")


def _create_index(name: str, columns: list[Any], **options: Any) -> None:
    op.create_index(name, "passes", columns, schema=SCHEMA, **options)
