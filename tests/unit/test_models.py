"""The mixin: whose table it is, and what it leaves to the model."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, declarative_base, mapped_column, registry

from reconciler.models import WorkflowExecutionColumns, WorkflowExecutionMixin
from reconciler.postgres.table.names import TableMapping, default_columns
from tests.unit.worker.test_light import modules_after

INDEX = "reconciler_workflow_executions_running"


class Base(DeclarativeBase):
    metadata = sa.MetaData()


class WorkflowExecution(WorkflowExecutionMixin, Base):
    __tablename__ = "workflow_executions"

    tenant: Mapped[str]
    __table_args__ = (sa.Index("mine", "tenant"),)


def indexes(model: Any) -> list[str]:
    return sorted(str(index.name) for index in model.__table__.indexes)


def test_the_columns_are_those_of_migrate_in_the_same_order() -> None:
    expected = default_columns(TableMapping())
    columns = WorkflowExecution.__table__.c

    assert columns.keys() == [*expected, "tenant"]
    for name, column in expected.items():
        for what in ("nullable", "primary_key", "index", "comment"):
            assert getattr(columns[name], what) == getattr(column, what), (name, what)


def test_the_index_is_there_beside_those_of_the_model() -> None:
    assert indexes(WorkflowExecution) == ["ix_workflow_executions_workflow_id", "mine", INDEX]


def test_whichever_way_a_model_is_declared() -> None:
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


def test_a_model_below_it_in_the_same_table_or_in_one_of_its_own_has_no_second_index() -> None:
    class Third(DeclarativeBase):
        pass

    class Execution(WorkflowExecutionMixin, Third):
        __tablename__ = "workflow_executions"

    class Same(Execution):
        pass

    class Joined(Execution):
        __tablename__ = "joined"
        id: Mapped[int] = mapped_column(sa.ForeignKey(Execution.id), primary_key=True)

    assert indexes(Execution) == ["ix_workflow_executions_workflow_id", INDEX]
    assert indexes(Joined) == []


def test_an_index_of_that_name_that_the_model_has_itself_is_left_as_it_is() -> None:
    class Seventh(DeclarativeBase):
        pass

    class Execution(WorkflowExecutionMixin, Seventh):
        __tablename__ = "workflow_executions"
        __table_args__ = (sa.Index(INDEX, "id", postgresql_include=["workflow_id"]),)

    assert indexes(Execution) == ["ix_workflow_executions_workflow_id", INDEX]


def test_a_model_without_a_key_is_told_so_by_sqlalchemy() -> None:
    class Fourth(DeclarativeBase):
        pass

    with pytest.raises(sa.exc.ArgumentError, match="primary key"):

        class Keyless(WorkflowExecutionColumns, Fourth):
            __tablename__ = "keyless"


def test_it_needs_sqlalchemy_and_nothing_else() -> None:
    heavy = {
        "asyncpg", "temporalio", "alembic", "pydantic", "structlog",
        "reconciler.settings", "reconciler.postgres.connection.engine",
    }  # fmt: skip

    loaded = modules_after("import reconciler.models")

    assert not loaded & heavy
    assert "reconciler.models" in loaded
