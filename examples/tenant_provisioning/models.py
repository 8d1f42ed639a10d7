"""The application's table: a row per workflow."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Identity, Index, func, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Base of the models."""

    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012 - SQLAlchemy's own


class WorkflowExecution(Base):
    """One execution of a workflow, as the application knows it."""

    __tablename__ = "workflow_executions"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    workflow_id: Mapped[str]
    #: The first run of the chain; null until the workflow has been started.
    run_id: Mapped[str | None]
    workflow_type: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default="running")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    completed_at: Mapped[datetime | None]
    error_message: Mapped[str | None]

    __table_args__ = (
        # The main path finds its row by the workflow id.
        Index("workflow_executions_workflow_id", "workflow_id"),
        # One running row per workflow id, as in Temporal: a repeated request adds no row.
        Index(
            "workflow_executions_one_running",
            "workflow_id",
            unique=True,
            postgresql_where=text("status = 'running'"),
        ),
    )
