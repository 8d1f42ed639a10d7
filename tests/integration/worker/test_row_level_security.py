"""Row-level security: the application's engine shows one tenant's rows, and that is enough."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from reconciler.core.errors import DatabaseUnfit
from reconciler.worker import ReconcilerPlugin
from reconciler.worker.database.sources import Sources
from reconciler.worker.report import EndReport
from tests.conftest import Database, with_user
from tests.integration.worker.conftest import Site

NOW = datetime.now(UTC)
OURS, THEIRS = uuid4(), uuid4()
SET_TENANT = f"SET LOCAL app.current_org_id = '{OURS}'"


@pytest.fixture
async def url(database: Database) -> AsyncIterator[str]:
    """The URL of the application's role, which sees one tenant's rows."""
    role = f"app_{uuid4().hex[:8]}"
    await database.execute(f"""
        ALTER TABLE workflow_executions ADD org_id uuid DEFAULT '{OURS}';
        ALTER TABLE workflow_executions ENABLE ROW LEVEL SECURITY;
        ALTER TABLE workflow_executions FORCE ROW LEVEL SECURITY;
        CREATE POLICY tenant ON workflow_executions
        USING (org_id = current_setting('app.current_org_id')::uuid);
        CREATE ROLE {role} LOGIN;
        GRANT SELECT, INSERT, UPDATE ON workflow_executions TO {role};
    """)
    yield with_user(database.url, role)
    await database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    """The application's engine, which sets the tenant at the start of each transaction."""
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"))

    sa.event.listen(engine.sync_engine, "begin", by_connection)
    yield engine
    await engine.dispose()


async def finish(engine: AsyncEngine | None, run_id: str = "r") -> bool:
    opened = Sources(engine).of().open()
    try:
        return await opened.finish(EndReport("w", "COMPLETED", run_id, NOW), None, NOW)
    finally:
        await opened.close()


async def test_a_workflow_writes_its_row(site: Site, engine: AsyncEngine) -> None:
    async with site.worker(ReconcilerPlugin(engine)):
        await site.closed(await site.start("complete"))

    assert await site.outcome() == ("completed", None)


def by_connection(connection: sa.Connection, *_: object) -> None:
    connection.exec_driver_sql(SET_TENANT)


def by_cursor(_: object, cursor: Any, *__: object) -> None:
    cursor.execute(SET_TENANT)


def by_driver(connection: Any, *_: object) -> None:
    connection.cursor().execute(SET_TENANT.replace("LOCAL ", ""))


@pytest.mark.parametrize(
    ("event", "listener"),
    [
        ("engine_connect", by_connection),
        ("before_cursor_execute", by_cursor),
        ("checkout", by_driver),
    ],
)
async def test_wherever_the_tenant_is_set(
    database: Database, url: str, event: str, listener: Callable[..., None]
) -> None:
    await database.insert("w", "r")
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"))
    sa.event.listen(engine.sync_engine, event, listener)
    try:
        assert await finish(engine) is True
    finally:
        await engine.dispose()


async def test_the_rows_of_another_tenant_are_not_written(
    database: Database, engine: AsyncEngine
) -> None:
    await database.insert("w", "r", org_id=THEIRS)
    ours = await database.insert("w", "r")

    assert await finish(engine) is True

    finished = await database.fetch("SELECT id FROM workflow_executions WHERE status <> 'running'")
    assert finished == [{"id": ours}]


async def test_a_row_without_a_run_id_is_left_since_a_better_one_may_be_hidden(
    database: Database, engine: AsyncEngine
) -> None:
    await database.insert("w", "r", org_id=THEIRS)
    await database.insert("w")

    assert await finish(engine) is False


async def test_so_a_table_without_run_ids_does_not_fit(
    database: Database, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_COLUMNS__RUN_ID", "")

    with pytest.raises(DatabaseUnfit, match="only rows with a run id can be written: set"):
        await finish(engine)


@pytest.mark.parametrize("command", ["SELECT", "UPDATE", "INSERT"])
async def test_a_policy_for_one_command_lets_nothing_be_written(
    database: Database, engine: AsyncEngine, command: str
) -> None:
    check = "WITH CHECK" if command == "INSERT" else "USING"
    await database.execute(
        "DROP POLICY tenant ON workflow_executions;"
        f"CREATE POLICY one ON workflow_executions FOR {command} {check} (true)"
    )
    await database.insert("w", "r")

    with pytest.raises(DatabaseUnfit, match=r"no policy lets role app_.* update rows"):
        await finish(engine)


async def test_policies_that_come_later_count_too(
    database: Database, url: str, engine: AsyncEngine
) -> None:
    await database.execute("ALTER TABLE workflow_executions DISABLE ROW LEVEL SECURITY")
    opened = Sources(engine).of().open()
    report = EndReport("w", "COMPLETED", "r", NOW)
    await database.insert("w", created_at=NOW)
    assert await opened.finish(report, None, NOW) is True

    await database.execute("ALTER TABLE workflow_executions ENABLE ROW LEVEL SECURITY")
    await database.execute("UPDATE workflow_executions SET status = 'running'")
    assert await opened.finish(report, None, NOW) is False


async def test_our_own_engine_has_no_tenant(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    with pytest.raises(DatabaseUnfit, match="pass ReconcilerPlugin the application's") as raised:
        await finish(None)

    assert "CREATE POLICY" not in str(raised.value), "it would show every tenant's rows"
