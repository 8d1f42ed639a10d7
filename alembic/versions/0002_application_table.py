"""The application's table: created if there is none, otherwise completed.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from alembic import context, op

from reconciler.postgres.migrate.application_table import add_missing, find_missing

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    known = context.config.attributes
    missing = known.get("missing")  # set when printing offline
    if missing is None:
        missing = find_missing(op.get_bind(), known["mapping"])
    add_missing(op, known["mapping"], missing)
