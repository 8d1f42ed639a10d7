"""Rows whose status is null while they are running.

Only allows more: replicas of the previous version keep running passes while new ones start.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("old_status", "new_status"):
        op.alter_column("changes", name, nullable=True, schema="reconciler")
