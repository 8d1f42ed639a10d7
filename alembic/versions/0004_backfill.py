"""The request and the progress of a backfill or an undo; an index of the journal by pass.

Only adds: replicas of the previous version keep running passes while new ones start.

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
    # An undo reads the changes of a pass page by page, ordered by id.
    _replace_index("changes_pass_id", "changes_of_pass", ["pass_id", "id"])


def _replace_index(old: str, new: str, columns: list[str]) -> None:
    """Replace an index without blocking passes that write to the journal."""
    concurrently = {"schema": SCHEMA, "postgresql_concurrently": True}
    with op.get_context().autocommit_block():
        op.drop_index(new, "changes", if_exists=True, **concurrently)  # from a failed attempt
        op.create_index(new, "changes", columns, **concurrently)
        op.drop_index(old, "changes", if_exists=True, **concurrently)
