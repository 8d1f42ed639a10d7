"""What is written by hand before there is a reconciler: the model, the loop, the activity."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus


class _Base(DeclarativeBase):
    type_annotation_map = {datetime: sa.DateTime(timezone=True)}  # noqa: RUF012 - SQLAlchemy's own


class WorkflowExecution(_Base):
    """The application's row."""

    __tablename__ = "workflow_executions"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    workflow_id: Mapped[str]
    run_id: Mapped[str | None]
    status: Mapped[str]
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    error_message: Mapped[str | None]


@asynccontextmanager
async def application_engine(url: str) -> AsyncIterator[AsyncEngine]:
    """SQLAlchemy as it comes: pooled, with statements that are prepared once."""
    engine = create_async_engine("postgresql+asyncpg://", connect_args={"dsn": url})
    try:
        yield engine
    finally:
        await engine.dispose()


async def naive_loop(engine: AsyncEngine, client: Client, limit: int) -> None:
    """What everybody writes first: a row, a question, a commit; and the next row."""
    async with AsyncSession(engine, expire_on_commit=False) as session:
        running = sa.select(WorkflowExecution).where(WorkflowExecution.status == "running")
        rows = await session.scalars(running.order_by(WorkflowExecution.id).limit(limit))
        for row in rows.all():
            description = await client.get_workflow_handle(row.workflow_id).describe()
            if description.status is WorkflowExecutionStatus.RUNNING:
                continue
            completed = description.status is WorkflowExecutionStatus.COMPLETED
            row.status = "completed" if completed else "failed"
            row.completed_at = description.close_time
            await session.commit()


def hand_written_activity(engine: AsyncEngine) -> Callable[[str, str], Awaitable[None]]:
    """The activity that everybody writes first: SELECT, change the object, commit."""

    @activity.defn
    async def update_status(workflow_id: str, status: str) -> None:
        async with AsyncSession(engine) as session:
            own = sa.select(WorkflowExecution).where(
                WorkflowExecution.workflow_id == workflow_id,
                WorkflowExecution.status == "running",
            )
            row = (await session.scalars(own)).one()
            row.status, row.completed_at = status, datetime.now(UTC)
            await session.commit()

    return update_status
