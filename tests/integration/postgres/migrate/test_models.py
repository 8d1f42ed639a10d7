"""The mixin and `migrate` agree: neither finds anything to add to the other's table."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from own_models import __file__ as example
from reconciler.core.policy import StatusValues
from reconciler.models import WorkflowExecutionColumns, WorkflowExecutionMixin
from reconciler.postgres.migrate.application_table import find_missing
from reconciler.postgres.migrate.removal import remove
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.schema import REVISION
from reconciler.postgres.table.names import TableMapping, TableNames
from tests.conftest import Database
from tests.integration.postgres.migrate.test_migrations import COLUMNS, INDEX
from tests.support.factories import outcome

OURS = [f"schema reconciler: from nothing to {REVISION}"]


@pytest.fixture
def alembic(
    empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """The example's Alembic, in a copy of its folder."""
    folder = tmp_path / "own_models"
    shutil.copytree(Path(example).parent, folder)
    monkeypatch.setenv("DATABASE_URL", empty_database.url)
    config = Config(folder / "alembic.ini")

    async def run(act: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return await asyncio.to_thread(act, config, *arguments, **options)

    return run


async def test_the_example_creates_what_migrate_would_create(
    empty_database: Database, database: Database, alembic: Callable[..., Any]
) -> None:
    await alembic(command.revision, "tables", autogenerate=True)
    await alembic(command.upgrade, "head")

    columns = await empty_database.fetch(COLUMNS)
    assert [each for each in columns if each["column_name"] != "tenant"] == (
        await database.fetch(COLUMNS)
    )
    assert await empty_database.fetch(INDEX) == await database.fetch(INDEX)


def running(*values: str, **names: str) -> TableMapping:
    return TableMapping(TableNames(**names), StatusValues(running=values))


async def test_migrate_then_adds_nothing_and_a_pass_finds_its_rows(
    empty_database: Database, alembic: Callable[..., Any]
) -> None:
    await alembic(command.revision, "tables", autogenerate=True)
    await alembic(command.upgrade, "head")
    payouts = running("pending", table="payouts", schema="billing")

    assert await migrate(empty_database.url, TableMapping()) == OURS
    assert await migrate(empty_database.url, payouts) == []
    await alembic(command.check)  # autogenerate ignores schema reconciler

    id_ = await empty_database.insert("wf", "run", tenant="acme")
    store = PostgresStore(empty_database.engine, await empty_database.table())
    (row,) = await store.scan_running(None, id_, 10)
    report = await started(empty_database)
    written = await store.finish_if_running(report, [outcome(row)])
    assert written.ids == {id_}


async def started(database: Database) -> str:
    """The id of a pass that has begun."""
    id_ = str(uuid4())
    await database.execute(
        "INSERT INTO reconciler.passes (id, mode, started_at, host, version)"
        " VALUES ($1, 'once', now(), '', '')",
        UUID(id_),
    )
    return id_


async def test_the_mixin_matches_a_table_created_by_migrate(database: Database) -> None:
    class Base(DeclarativeBase):
        pass

    class WorkflowExecution(WorkflowExecutionMixin, Base):
        __tablename__ = "workflow_executions"

    def differences(connection: sa.Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return list(compare_metadata(context, Base.metadata))

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


class State(StrEnum):
    ACTIVE = "active"
    DONE = "done"


def values(kind: type[State]) -> list[str]:
    return [each.value for each in kind]


async def test_migrate_adds_nothing_to_any_variant_of_the_model(
    empty_database: Database,
) -> None:
    class Base(DeclarativeBase):
        pass

    class Job(Base, WorkflowExecutionColumns):
        """Redeclares everything."""

        __tablename__ = "jobs"
        __table_args__ = (sa.UniqueConstraint("tenant"), {"schema": "app"})
        __running__ = "active"

        id: Mapped[UUID] = mapped_column("job", primary_key=True, default=uuid4)
        status: Mapped[State] = mapped_column(
            "state", sa.Enum(State, values_callable=values, name="state", schema="app")
        )
        tenant: Mapped[str]

    class Long(WorkflowExecutionMixin, Base):
        __tablename__ = "x" * 63
        __running__ = ("it's on", "new")

    jobs = running("active", table="jobs", schema="app", id="job", status="state")

    def make(connection: sa.Connection) -> list[Any]:
        connection.execute(sa.schema.CreateSchema("app"))
        Base.metadata.create_all(connection)
        long = running(*Long.__running__, table=Long.__tablename__)
        return [find_missing(connection, jobs), find_missing(connection, long)]

    async with empty_database.engine.begin() as connection:
        missing = await connection.run_sync(make)

    assert not any(missing), missing


async def test_a_removal_keeps_the_index_of_the_model(
    empty_database: Database, alembic: Callable[..., Any]
) -> None:
    await alembic(command.revision, "tables", autogenerate=True)
    await alembic(command.upgrade, "head")
    index = await empty_database.fetch(INDEX)
    await migrate(empty_database.url, TableMapping())

    await remove(empty_database.url, TableMapping(), with_columns=True)

    assert await empty_database.fetch(INDEX) == index


async def test_autogenerate_with_the_filters_of_the_page_drops_nothing_of_migrate(
    empty_database: Database,
) -> None:
    page = Path(__file__).parents[4].joinpath("docs/tables.md").read_text()
    code = page.split("### Beside migrations of your own")[1].split("```")[1]
    filters: dict[str, Any] = {}
    exec(code.removeprefix("python").split("context.configure")[0], filters)  # noqa: S102
    base = sa.MetaData()
    sa.Table(
        "jobs",
        base,
        *(sa.Column(name, sa.Text) for name in ("workflow_id", "run_id", "status")),
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("created_at", sa.DateTime(timezone=True)),
    )
    engine = empty_database.engine
    async with engine.begin() as connection:
        await connection.run_sync(base.create_all)
    await migrate(empty_database.url, TableMapping(TableNames(table="jobs")))

    def differences(connection: sa.Connection, options: dict[str, Any]) -> list[Any]:
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, base))

    async with engine.connect() as connection:
        schemas = {"include_schemas": True}
        dropped = await connection.run_sync(differences, schemas)
        names = ("include_name", "include_object")
        given = {name: filters[name] for name in names}
        left = await connection.run_sync(differences, schemas | given)

    assert {kind for kind, *_ in dropped} >= {"remove_table", "remove_index", "remove_column"}
    assert left == []
