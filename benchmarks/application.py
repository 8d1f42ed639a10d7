"""What applications write by hand without the reconciler: the model, the loop, the activity."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus

from reconciler.models import WorkflowExecutionMixin


class _Base(DeclarativeBase):
    pass


class WorkflowExecution(WorkflowExecutionMixin, _Base):
    """The application's row."""

    __tablename__ = "workflow_executions"


@asynccontextmanager
async def application_engine(url: str) -> AsyncIterator[AsyncEngine]:
    """SQLAlchemy with its defaults: pooled, with statements prepared once."""
    engine = create_async_engine("postgresql+asyncpg://", connect_args={"dsn": url})
    try:
        yield engine
    finally:
        await engine.dispose()


async def naive_loop(engine: AsyncEngine, client: Client, limit: int) -> None:
    """The loop that everybody writes first: read a row, describe its workflow, commit; repeat."""
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
    """The activity that everybody writes first: select, change the object, commit."""

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
