"""Everything through a pooler in transaction mode, beside a neighbour that leaves session state.

Each of the two server connections has settings, prepared statements, temporary tables and a lock
left by another session. They do not affect reconciler, and it leaves nothing behind itself.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import create_async_engine
from temporalio.client import Client

from reconciler.app.backfill import Request, run_backfill
from reconciler.app.explain import explain
from reconciler.app.overview.parts import Parts
from reconciler.app.undo import open_journal, undo
from reconciler.app.wiring import open_app
from reconciler.core.errors import DatabaseUnusable
from reconciler.core.report.pass_report import PassReport
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.table.names import TableMapping, TableNames
from reconciler.settings.model import Settings
from reconciler.worker.database.sources import Sources
from reconciler.worker.report import EndReport
from tests.conftest import Database
from tests.support.commands.stage import Stage
from tests.support.passes.operator import Operator
from tests.support.servers.pooler import Pooler, pooler

ROWS = 30
#: Session state that the neighbour leaves. Because of the search path, tests must name schemas.
SESSION_STATE = """
    SET search_path = nowhere;
    SET statement_timeout = '59min';
    SET lock_timeout = '58min';
    SET default_transaction_isolation = 'serializable';
    SET jit = off;
    PREPARE __asyncpg_stmt_1__ AS SELECT 'theirs';
    PREPARE s AS SELECT 'theirs';
    CREATE TEMPORARY TABLE workflow_executions (id int);
    CREATE TEMPORARY TABLE passes (id int);
    LISTEN news;
    SELECT pg_advisory_lock_shared(1);
"""

#: The arguments that docs/deployment.md recommends for an application's own engine.
AS_DOCUMENTED = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": str,
}


@asynccontextmanager
async def beside_a_neighbour(url: str) -> AsyncIterator[Pooler]:
    """The pooler; fails if the session state on its servers has changed at the end."""
    async with pooler(url) as here:
        async with AsyncExitStack() as stack:
            for each in [await here.transaction(stack) for _ in range(here.size)]:
                await each.execute(SESSION_STATE)
                await each.execute("COMMIT; BEGIN")
        left = await here.traces()
        assert len(left) == here.size
        assert all(len(each) > 9 for each in left.values())
        over = asyncio.Event()
        neighbour = asyncio.create_task(come_and_go(here.url, over))
        try:
            yield here
        finally:
            over.set()
            await neighbour
        assert await here.traces() == left


async def come_and_go(url: str, over: asyncio.Event) -> None:
    """Run the neighbour's short transactions, so that clients keep changing servers."""
    client = await asyncpg.connect(url, statement_cache_size=0)
    try:
        while not over.is_set():
            async with client.transaction():
                await client.execute("SELECT pg_sleep(0.005)")
    finally:
        await client.close(timeout=2)


@pytest.fixture
async def here(database: Database) -> AsyncIterator[Pooler]:
    async with beside_a_neighbour(database.url) as here:
        yield here


@contextmanager
def servers_seen() -> Iterator[dict[object, set[int]]]:
    """The server processes of each client connection's transactions."""
    seen = defaultdict[object, set[int]](set)

    def record(connection: sa.Connection) -> None:
        (process,) = connection.exec_driver_sql("SELECT pg_backend_pid()").one()
        seen[connection.connection.dbapi_connection].add(process)

    sa.event.listen(sa.Engine, "begin", record)
    try:
        yield seen
    finally:
        sa.event.remove(sa.Engine, "begin", record)


@pytest.fixture
async def stage(database: Database, temporal: Client, workflow_id: str) -> AsyncIterator[Stage]:
    stage = Stage(database, temporal, workflow_id)
    await stage.insert(await stage.closed(), ROWS)
    yield stage
    await stage.end()


@pytest.fixture
def settings(here: Pooler, temporal_address: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    return Settings(
        database_url=SecretStr(here.url),
        table="public.workflow_executions",
        batch_size=5,
        max_rps=0,
    )


async def once(settings: Settings) -> PassReport:
    async with open_app(settings, writing=True) as app:
        return await app.run_pass("once", dry_run=False)


async def test_passes_side_by_side(stage: Stage, settings: Settings) -> None:
    with servers_seen() as seen:
        reports = await asyncio.gather(*(once(settings) for _ in range(3)))

    assert sum(report.changed for report in reports) == ROWS
    assert [report.error for report in reports] == [None] * 3
    assert await stage.statuses() == {"failed": ROWS}
    assert await stage.journalled() == ROWS
    assert any(len(each) > 1 for each in seen.values()), "no connection has changed servers"


async def test_a_backfill_in_pieces_its_undo_and_the_journal(
    stage: Stage, settings: Settings
) -> None:
    piece = await run_backfill(settings, Request(apply=True, max_changes=10), Operator())
    rest = await run_backfill(settings, Request(apply=True), Operator())
    assert piece is not None
    assert rest is not None
    assert (piece.pass_id, rest.changed) == (rest.pass_id, ROWS), "not resumed"
    async with open_app(settings, writing=False) as app:
        (explained, *_) = await explain(app, stage.handles[0].id)
        views = await asyncio.gather(*(Parts(app).read() for _ in range(3)))
    undone = UUID((await undo(settings, rest.pass_id, dry_run=False)).pass_id)
    async with open_journal(settings) as journal:
        passes = [each async for page in journal.passes(10) for each in page]
        changes = [each async for page in journal.changes(100, undone) for each in page]

    assert explained.stored.status == "failed"
    assert [view.repaired and view.repaired.total for view in views] == [ROWS] * 3
    assert [view.errors for view in views] == [()] * 3
    assert await stage.statuses() == {"running": ROWS}
    assert [each.mode for each in passes] == ["undo", "backfill"]
    assert len(changes) == ROWS


async def test_the_lease_of_the_loop(settings: Settings) -> None:
    async with open_app(settings, writing=True, looping=True) as app:
        first, second = app.lease(), app.lease()
        assert await first.claim(timedelta(minutes=5)) == 1
        await first.release()
        assert await second.claim(timedelta(minutes=5)) is not None


@pytest.mark.parametrize("own", [True, False], ids=["own engine", "the application's"])
async def test_the_main_path(
    database: Database, here: Pooler, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    monkeypatch.setenv("DATABASE_URL", here.url)
    monkeypatch.setenv("RECONCILER_TABLE", "public.workflow_executions")
    rows = [await database.insert(f"wf-{number}", "run") for number in range(6)]
    application = create_async_engine(
        here.url.replace("postgresql://", "postgresql+asyncpg://"),
        connect_args=AS_DOCUMENTED,
    )
    writer = Sources(None if own else application).of().open()
    now = datetime.now(UTC)
    try:
        reports = [EndReport(f"wf-{n}", "completed", "run", None) for n in range(6)]
        written = await asyncio.gather(*(writer.finish(each, None, now) for each in reports))
    finally:
        await writer.close()
        await application.dispose()

    assert written == [True] * 6
    assert {(await database.row(row))["status"] for row in rows} == {"completed"}


async def test_several_migrations_at_once(empty_database: Database) -> None:
    names = TableMapping(TableNames(schema="public"))
    async with beside_a_neighbour(empty_database.url) as here:
        done = await asyncio.gather(*(migrate(here.url, names) for _ in range(2)))
        again = await migrate(here.url, names)

    assert sorted(len(lines) for lines in done) == [0, 4]
    assert again == []


async def test_a_migration_that_would_wait_for_itself_is_refused(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.postgres.migrate.upgrade.SECOND_CONNECTION_TIMEOUT", 0.2)
    async with pooler(empty_database.url, size=1) as here:
        with pytest.raises(DatabaseUnusable, match=r"no second one .* default_pool_size") as no:
            await migrate(here.url, TableMapping())

    assert "\n" not in str(no.value)
    assert await empty_database.fetch("SELECT FROM pg_namespace WHERE nspname = 'reconciler'") == []


async def test_in_session_mode_a_migration_needs_only_two_servers(empty_database: Database) -> None:
    async with pooler(empty_database.url, mode="session", size=2) as here:
        assert len(await migrate(here.url, TableMapping())) == 4
