"""The application's models. The mixin brings the columns and the index that are recommended."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID, uuid4

from sqlalchemy import Index, Numeric, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from reconciler.models import WorkflowExecutionColumns, WorkflowExecutionMixin


class Base(DeclarativeBase):
    """Base of the models."""


class WorkflowExecution(WorkflowExecutionMixin, Base):
    """A row per workflow: the recommended table, and what the application wants besides."""

    __tablename__ = "workflow_executions"

    tenant: Mapped[str]

    # The index over the running rows adds itself to whatever stands here.
    __table_args__ = (
        # A workflow id has one use at a time, here as in Temporal.
        Index(
            "workflow_executions_one_running",
            "workflow_id",
            unique=True,
            postgresql_where=text("status = 'running'"),
        ),
    )


class Payout(WorkflowExecutionColumns, Base):
    """Another table: with a key, a schema and a running value of its own."""

    __tablename__ = "payouts"
    __table_args__ = {"schema": "billing"}  # noqa: RUF012 - SQLAlchemy's own
    __running__ = "pending"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    amount: Mapped[Decimal] = mapped_column(Numeric(12, 2))
