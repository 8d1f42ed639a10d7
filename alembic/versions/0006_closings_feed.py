"""How the closings feed has come along; and how each changed row was found.

Only adds: replicas of the previous version keep running passes while new ones start.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

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
