"""The mixin: its columns and its index, and what a model may change."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, declarative_base, mapped_column, registry

from reconciler.models import WorkflowExecutionColumns, WorkflowExecutionMixin
from reconciler.postgres.table.names import TableMapping, TableNames, default_columns
from tests.unit.worker.test_imports import modules_after

INDEX = "reconciler_workflow_executions_running"
INDEXES = ["ix_workflow_executions_workflow_id", INDEX, INDEX.replace("running", "workflow_id")]


class Base(DeclarativeBase):
    metadata = sa.MetaData()


class WorkflowExecution(WorkflowExecutionMixin, Base):
    __tablename__ = "workflow_executions"

    tenant: Mapped[str]
    __table_args__ = (sa.Index("mine", "tenant"),)


def indexes(model: Any) -> list[str]:
    return sorted(str(index.name) for index in model.__table__.indexes)


def test_columns_and_their_order_are_those_of_migrate() -> None:
    expected = default_columns(TableMapping())
    columns = WorkflowExecution.__table__.c

    assert columns.keys() == [*expected, "tenant"]
    for name, column in expected.items():
        for what in ("nullable", "primary_key", "index", "comment"):
            assert getattr(columns[name], what) == getattr(column, what), (name, what)


def test_rows_without_a_status_may_be_running() -> None:
    class Nullable(DeclarativeBase):
        pass

    class Execution(WorkflowExecutionMixin, Nullable):
        __tablename__ = "workflow_executions"
        __running__ = (None, "queued")

    table: Any = Execution.__table__
    index = next(index for index in table.indexes if index.name == INDEX)

    assert (table.c.status.nullable, table.c.status.server_default) == (True, None)
    assert str(index.dialect_options["postgresql"]["where"]) == (
        "workflow_executions.status = 'queued' OR workflow_executions.status IS NULL"
    )


def test_the_workflow_id_may_be_the_key() -> None:
    class Keyed(DeclarativeBase):
        pass

    class Task(WorkflowExecutionColumns, Keyed):
        __tablename__ = "tasks"
        workflow_id: Mapped[str] = mapped_column(primary_key=True)

    table: Any = Task.__table__
    (index,) = table.indexes
    assert (index.name, index.columns.keys()) == ("reconciler_tasks_running", ["workflow_id"])


def test_the_workflow_id_may_be_composed_of_other_columns() -> None:
    class Composed(DeclarativeBase):
        pass

    class Export(WorkflowExecutionMixin, Composed):
        __tablename__ = "exports"
        workflow_id = None  # type: ignore[assignment]
        batch: Mapped[str]

    names = TableNames("exports", workflow_id="export/{batch}/{id}")
    assert "workflow_id" not in Export.__table__.c
    assert set(names.read) <= {*Export.__table__.c.keys()}


def test_the_indexes_are_added_to_those_of_the_model() -> None:
    assert indexes(WorkflowExecution) == sorted([*INDEXES, "mine"])


def test_a_unique_workflow_id_or_one_of_other_columns_gets_no_index_of_ours() -> None:
    class Unique(DeclarativeBase):
        pass

    class One(WorkflowExecutionMixin, Unique):
        __tablename__ = "one"
        workflow_id: Mapped[str] = mapped_column(unique=True)

    class Other(WorkflowExecutionMixin, Unique):
        __tablename__ = "other"
        workflow_id = None  # type: ignore[assignment]
        job: Mapped[str]

    assert indexes(One) == ["reconciler_one_running"]
    assert indexes(Other) == ["reconciler_other_running"]


def test_every_style_of_declaration_gets_the_index() -> None:
    class Second(DeclarativeBase):
        pass

    class TheOtherWayRound(Second, WorkflowExecutionMixin):
        __tablename__ = "workflow_executions"

    class Older(WorkflowExecutionMixin, declarative_base()):  # type: ignore[misc]
        __tablename__ = "workflow_executions"

    @registry().mapped
    class Decorated(WorkflowExecutionMixin):
        __tablename__ = "workflow_executions"

    for model in (TheOtherWayRound, Older, Decorated):
        assert INDEX in indexes(model), model


def test_a_subclass_of_a_model_gets_no_second_index() -> None:
    class Third(DeclarativeBase):
        pass

    class Execution(WorkflowExecutionMixin, Third):
        __tablename__ = "workflow_executions"

    class Same(Execution):
        pass

    class Joined(Execution):
        __tablename__ = "joined"
        id: Mapped[int] = mapped_column(sa.ForeignKey(Execution.id), primary_key=True)

    assert indexes(Execution) == INDEXES
    assert indexes(Joined) == []


def test_an_index_of_that_name_in_the_model_is_kept() -> None:
    class Seventh(DeclarativeBase):
        pass

    class Execution(WorkflowExecutionMixin, Seventh):
        __tablename__ = "workflow_executions"
        __table_args__ = (sa.Index(INDEX, "id", postgresql_include=["workflow_id"]),)

    assert indexes(Execution) == INDEXES


def test_sqlalchemy_rejects_a_model_without_a_key() -> None:
    class Fourth(DeclarativeBase):
        pass

    with pytest.raises(sa.exc.ArgumentError, match="primary key"):

        class Keyless(WorkflowExecutionColumns, Fourth):
            __tablename__ = "keyless"


def test_it_imports_only_sqlalchemy() -> None:
    heavy = {
        "asyncpg", "temporalio", "alembic", "pydantic", "structlog",
        "reconciler.settings", "reconciler.postgres.connection.engine",
    }  # fmt: skip

    loaded = modules_after("import reconciler.models")

    assert not loaded & heavy
    assert "reconciler.models" in loaded
