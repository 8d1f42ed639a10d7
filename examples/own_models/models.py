"""The application's models. The mixin adds the recommended columns and the index."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID, uuid4

from sqlalchemy import Index, Numeric, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from reconciler.models import WorkflowExecutionColumns, WorkflowExecutionMixin


class Base(DeclarativeBase):
    """Base of the models."""


class WorkflowExecution(WorkflowExecutionMixin, Base):
    """A row per workflow: the recommended table with a column and an index of the application."""

    __tablename__ = "workflow_executions"

    tenant: Mapped[str]

    # The mixin adds its index over the running rows to these.
    __table_args__ = (
        # Only one running workflow per workflow id, as in Temporal.
        Index(
            "workflow_executions_one_running",
            "workflow_id",
            unique=True,
            postgresql_where=text("status = 'running'"),
        ),
    )


class Payout(WorkflowExecutionColumns, Base):
    """Another table, with its own key, schema and running value."""

    __tablename__ = "payouts"
    __table_args__ = {"schema": "billing"}  # noqa: RUF012 - SQLAlchemy's own
    __running__ = "pending"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    amount: Mapped[Decimal] = mapped_column(Numeric(12, 2))
