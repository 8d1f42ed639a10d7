"""The lease of the loop's replicas, and the table and namespace of each pass.

Only adds: replicas of the previous version keep running passes while new ones start.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SCHEMA = "reconciler"


def upgrade() -> None:
    for name in ("table_name", "namespace"):
        op.add_column("passes", sa.Column(name, sa.Text), schema=SCHEMA)
    op.create_index(
        "passes_heartbeat",
        "passes",
        ["table_name", "namespace", "finished_at"],
        schema=SCHEMA,
        postgresql_where=sa.text("outcome IN ('ok', 'unresolved')"),
    )
    op.create_table(
        "lease",
        sa.Column("table_name", sa.Text, primary_key=True),
        sa.Column("namespace", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        schema=SCHEMA,
    )
