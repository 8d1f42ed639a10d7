"""The recommended table as a mixin for SQLAlchemy's declarative models.

For applications that create their tables with their own Alembic: with this mixin it creates the
columns and the partial indexes that `reconciler migrate` would create. Imported into other people's
applications, so it needs SQLAlchemy and nothing else.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import BigInteger, DateTime, Identity, Index, Table, Text, event, func
from sqlalchemy.orm import Mapped, Mapper, declared_attr, mapped_column

from reconciler.postgres.table.names import (
    BY_KEY,
    BY_WORKFLOW_ID,
    index_name,
    is_looked_up,
    is_running,
)

__all__ = ["WorkflowExecutionColumns", "WorkflowExecutionMixin"]


class WorkflowExecutionColumns:
    """The recommended columns without the key, and the indexes over the running rows.

    For models with their own key: the attribute `id`, or `workflow_id` if that is the primary key.

        class Job(WorkflowExecutionColumns, Base):
            __tablename__ = "jobs"
            id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)

    `__tablename__`, `__table_args__` and further columns are yours: the indexes are
    added automatically. You can redeclare columns with another name, type or default, or omit them:
    `workflow_id = None`, where RECONCILER_COLUMNS__WORKFLOW_ID composes it of other columns.
    """

    #: The same as RECONCILER_STATUSES__RUNNING; None: null.
    #: New rows get the first of several values.
    __running__: ClassVar[str | tuple[str | None, ...]] = "running"

    workflow_id: Mapped[str] = mapped_column(Text, index=True, sort_order=-7)
    run_id: Mapped[str | None] = mapped_column(
        Text, comment="first run of the chain", sort_order=-6
    )
    workflow_type: Mapped[str | None] = mapped_column(Text, sort_order=-5)
    if TYPE_CHECKING:  # so that it can be redeclared, e.g. as an enum
        status: Mapped[str]
    else:

        @declared_attr
        def status(cls) -> Mapped[str]:  # noqa: N805 - a class method
            """Text, with the running value as the server default."""
            running = _running(cls)
            nullable = None in running
            return mapped_column(Text, nullable=nullable, server_default=running[0], sort_order=-4)

    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), sort_order=-3
    )
    completed_at: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), comment="Temporal's close time", sort_order=-2
    )
    error_message: Mapped[str | None] = mapped_column(
        Text, comment="the failure in one line", sort_order=-1
    )


class WorkflowExecutionMixin(WorkflowExecutionColumns):
    """The recommended columns: those of `WorkflowExecutionColumns` and a bigint key.

    class WorkflowExecution(WorkflowExecutionMixin, Base):
        __tablename__ = "workflow_executions"
    """

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True, sort_order=-8)


def _running(model: type[WorkflowExecutionColumns]) -> tuple[str | None, ...]:
    running = model.__running__
    return (running,) if isinstance(running, str) else running


def _add_indexes(mapper: Mapper[Any], model: type[WorkflowExecutionColumns]) -> None:
    """Add the partial indexes of passes and of the closings feed, as `migrate` would."""
    table = mapper.local_table
    if mapper.inherits is not None or not isinstance(table, Table):
        return
    key = "id" if "id" in mapper.columns else "workflow_id"
    columns = {BY_KEY: (key, is_running, "btree")}
    if key != "workflow_id" and _may_repeat(mapper, "workflow_id"):
        columns[BY_WORKFLOW_ID] = ("workflow_id", is_looked_up, "hash")
    for purpose, (column, holds, method) in columns.items():
        name = index_name(table.name, purpose=purpose)
        if name not in {index.name for index in table.indexes}:
            predicate = holds(mapper.columns["status"], _running(model))
            indexed = mapper.columns[column]
            Index(name, indexed, postgresql_where=predicate, postgresql_using=method)


def _may_repeat(mapper: Mapper[Any], name: str) -> bool:
    """Whether there is such a column, and no unique index finds its rows."""
    return name in mapper.columns and not mapper.columns[name].unique


event.listen(WorkflowExecutionColumns, "after_mapper_constructed", _add_indexes, propagate=True)
