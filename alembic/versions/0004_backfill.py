"""What a backfill or an undo was asked to do, and how far it has come; the journal by pass.

Only adds: replicas of the version before go on passing while new ones start.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SCHEMA = "reconciler"
COLUMNS = ("asked", "cursor")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("passes", sa.Column(name, postgresql.JSONB), schema=SCHEMA)
    # An undo reads the changes of a pass page by page, in the order of their ids.
    _replace_index("changes_pass_id", "changes_of_pass", ["pass_id", "id"])


def _replace_index(old: str, new: str, columns: list[str]) -> None:
    """While passes go on writing to the journal, however long it is."""
    concurrently = {"schema": SCHEMA, "postgresql_concurrently": True}
    with op.get_context().autocommit_block():
        op.drop_index(new, "changes", if_exists=True, **concurrently)  # of a try that failed
        op.create_index(new, "changes", columns, **concurrently)
        op.drop_index(old, "changes", if_exists=True, **concurrently)
