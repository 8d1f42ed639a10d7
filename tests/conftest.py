"""Real servers for the tests: from wheels, in containers, or ones that run already.

RECONCILER_TEST_DATABASE_URL and RECONCILER_TEST_TEMPORAL_ADDRESS name running servers and take
precedence over --servers. The role in that URL must be allowed to create databases.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4
from zlib import crc32

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from reconciler.core.policy import StatusValues
from reconciler.demo.servers import postgres_server, temporal_server
from reconciler.postgres.connection.engine import open_engine
from reconciler.postgres.journal.history import PassHistory
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.table.mapping import MappedTable, map_table
from reconciler.postgres.table.names import TableMapping
from reconciler.temporal.client.runtime import quiet_runtime
from tests.support.polling import PATIENCE, eventually
from tests.support.properties import load_profile
from tests.support.servers.dynamic_config import DYNAMIC_CONFIG
from tests.support.servers.in_memory import data_folder
from tests.support.servers.leftovers import ended_with_us
from tests.support.servers.lending import Lending, administer, with_database
from tests.support.servers.restored import restored_logs  # noqa: F401 - a fixture
from tests.support.servers.shared import share_builtin_types, share_compiled_statements
from tests.support.temporal.slow_workflows import allow_slow_workflows
from tests.support.temporal.workflows import Scripted, charge
from tests.support.temporal.world import World


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--servers",
        choices=["wheels", "containers"],
        default="wheels",
        help="where PostgreSQL and Temporal come from; containers need a Docker engine",
    )

    parser.addoption(
        "--one-variant",
        action="store_true",
        help="of each test with parameters, except in tests/acceptance, run the first only",
    )
    parser.addoption(
        "--part", metavar="N/M", default="1/1", help="of the files, run the Nth of M parts only"
    )


load_profile()  # before the tests are imported: their @settings use it


def pytest_configure() -> None:
    """Let a terminated test run clean up like an interrupted one.

    SIGTERM becomes SIGINT, on which asyncio cancels the test. An exception raised by the handler
    could end a task of the Temporal worker instead, and the worker's shutdown would hang.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    allow_slow_workflows()
    share_compiled_statements()
    share_builtin_types()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs may ignore it
    signal.signal(signal.SIGTERM, interrupt)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let each worker start with its share of the long tests, so that none runs last.

    `--dist worksteal` splits the list into one piece per worker. The tests of a module stay
    together, since they share servers.
    """
    if config.getoption("one_variant"):
        first = {item.nodeid.partition("[")[0]: item for item in reversed(items)}
        kept = {*first.values(), *(item for item in items if "acceptance" in item.path.parts)}
        items[:] = [item for item in items if item in kept]
    number, parts = map(int, config.getoption("part").split("/"))
    items[:] = [item for item in items if _digest(item) % parts == number % parts]
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long: dict[Path, list[pytest.Item]] = {}
    others: list[pytest.Item] = []
    for item in items:
        is_long = item.get_closest_marker("long")
        (long.setdefault(item.path, []) if is_long else others).append(item)
    modules = list(long.values())
    cuts = [len(others) * number // workers for number in range(workers + 1)]
    items[:] = [
        item
        for number in range(workers)
        for part in (*modules[number::workers], others[cuts[number] : cuts[number + 1]])
        for item in part
    ]


def _digest(item: pytest.Item) -> int:
    """A number that is the same for all tests of a file, and in every process."""
    return crc32(item.nodeid.partition("::")[0].encode())


def pytest_unconfigure() -> None:
    """Collect garbage: otherwise Python 3.11 may abort at exit if the Temporal client was used."""
    gc.collect()


@pytest.fixture(scope="session")
def no_leftovers() -> Iterator[None]:
    """End the shared servers with this process, even if it is killed."""
    with ended_with_us():
        yield


@pytest.fixture(scope="session")
def postgres_url(pytestconfig: pytest.Config, no_leftovers: None) -> Iterator[str]:
    """A server to create databases on."""
    if given := os.environ.get("RECONCILER_TEST_DATABASE_URL"):
        yield given
        return
    if pytestconfig.getoption("servers") == "containers":
        from tests.support.servers.containers import postgres_container  # noqa: PLC0415 - slow, and rarely needed

        server = postgres_container()
    else:
        server = postgres_server(data_folder())
    with server as url:
        yield url


@dataclass(frozen=True)
class Database:
    """A database for one test."""

    url: str
    engine: AsyncEngine
    pool: asyncpg.Pool

    async def table(self, *of: Any, writing: bool = True) -> MappedTable:
        """Map the table; the arguments are those of `TableMapping`."""
        return await map_table(self.engine, TableMapping(*of), writing=writing)

    def history(self) -> PassHistory:
        return PassHistory(self.engine, "workflow_executions", "default", StatusValues())

    async def execute(self, sql: str, *arguments: object) -> None:
        await self.pool.execute(sql, *arguments)

    async def fetch(self, sql: str, *arguments: object) -> list[dict[str, object]]:
        return [dict(record) for record in await self.pool.fetch(sql, *arguments)]

    async def insert(self, workflow_id: str, run_id: str | None = None, **columns: object) -> int:
        names = ["workflow_id", "run_id", *columns]
        marks = ", ".join(f"${number}" for number in range(1, len(names) + 1))
        rows = await self.fetch(
            f"INSERT INTO workflow_executions ({', '.join(names)}) VALUES ({marks}) RETURNING id",
            workflow_id,
            run_id,
            *columns.values(),
        )
        return int(str(rows[0]["id"]))

    async def insert_many(self, count: int, workflow_id: str, run_id: str | None) -> None:
        """Insert many rows of one run, or of many workflows that never started.

        Temporal is asked once for the rows of one run in a page.
        """
        await self.execute(
            "INSERT INTO workflow_executions (workflow_id, run_id)"
            " SELECT $1 || CASE WHEN $2::text IS NULL THEN '-' || n ELSE '' END, $2"
            " FROM generate_series(1, $3) n",
            workflow_id,
            run_id,
            count,
        )

    async def row(self, id_: int) -> dict[str, object]:
        return (await self.fetch("SELECT * FROM workflow_executions WHERE id = $1", id_))[0]


@pytest.fixture(scope="session")
async def template_database(postgres_url: str) -> AsyncIterator[str]:
    """The name of a migrated database to copy."""
    if "RECONCILER_TEST_DATABASE_URL" not in os.environ:  # our own server, without data to lose
        await administer(postgres_url, "ALTER SYSTEM SET fsync = off")
        await administer(
            postgres_url, "ALTER SYSTEM SET max_wal_size = '128MB'"
        )  # the data may be in memory
        await administer(postgres_url, "SELECT pg_reload_conf()")
    name = f"template_{uuid4().hex}"
    await administer(postgres_url, f"CREATE DATABASE {name}")
    await migrate(with_database(postgres_url, name), TableMapping())
    yield name
    await administer(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
async def lending(postgres_url: str, template_database: str) -> AsyncIterator[Lending]:
    async with Lending(postgres_url, template_database) as lending:
        yield lending


@pytest.fixture
async def database(lending: Lending) -> AsyncIterator[Database]:
    """A migrated database; fails the test that leaves a connection checked out."""
    async with lending.lend() as url, opened(url) as database:
        yield database


@pytest.fixture
async def empty_database(postgres_url: str) -> AsyncIterator[Database]:
    """A new, empty database."""
    async with made_database(postgres_url) as database:
        yield database


@contextlib.asynccontextmanager
async def made_database(server: str) -> AsyncIterator[Database]:
    """A new database on the server with this URL."""
    name = f"test_{uuid4().hex}"
    await administer(server, f"CREATE DATABASE {name}")
    try:
        async with opened(with_database(server, name)) as database:
            yield database
    finally:
        await administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    engine = open_engine(url)
    try:
        # No statement cache: tests change the schema while connections stay open.
        # And no statement waits for a lock for ever: the test would, too.
        options: dict[str, Any] = {"statement_cache_size": 0, "command_timeout": PATIENCE}
        async with asyncpg.create_pool(url, min_size=0, **options) as pool:
            yield Database(url, engine, pool)
        await _wait_for_checkins(engine)
    finally:
        await engine.dispose()


async def _wait_for_checkins(engine: AsyncEngine) -> None:
    """Wait until no connection is checked out; a cancelled task returns its own after it ends."""

    async def is_idle() -> bool:
        return engine.pool.checkedout() == 0  # type: ignore[attr-defined,no-any-return]

    try:
        await eventually(is_idle, seconds=30)
    except TimeoutError:
        pytest.fail(f"a connection is still checked out: {engine.pool.status()}")


def with_user(url: str, name: str) -> str:
    """The URL with this user, and without a password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{name}@{host}"))


@pytest.fixture(scope="session")
async def temporal(pytestconfig: pytest.Config, no_leftovers: None) -> AsyncIterator[Client]:
    """A client connected to a real Temporal server."""
    if address := os.environ.get("RECONCILER_TEST_TEMPORAL_ADDRESS"):
        yield await Client.connect(address, runtime=quiet_runtime())
        return
    flags = [part for value in DYNAMIC_CONFIG for part in ("--dynamic-config-value", value)]
    if pytestconfig.getoption("servers") == "containers":
        from tests.support.servers.containers import temporal_container  # noqa: PLC0415 - slow, and rarely needed

        async with temporal_container(*flags) as address:
            yield await Client.connect(address, runtime=quiet_runtime())
        return
    async with contextlib.AsyncExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            # By default it spends a quarter of its CPU on garbage collection.
            patch.setenv("GOGC", "400")
            patch.setenv("GOMEMLIMIT", "2GiB")
            environment = await stack.enter_async_context(temporal_server(*flags))
        yield environment.client


@pytest.fixture
def temporal_address(temporal: Client) -> str:
    return temporal.service_client.config.target_host


@pytest.fixture
def workflow_id(request: pytest.FixtureRequest) -> str:
    """A workflow id unique to this test."""
    return f"{request.node.name[:80]}-{uuid4().hex[:8]}"


@pytest.fixture(scope="session")
async def task_queue(temporal: Client) -> AsyncIterator[str]:
    """The task queue of a worker that runs for the whole session."""
    name = f"tests-{uuid4().hex}"
    async with Worker(
        temporal,
        task_queue=name,
        workflows=[Scripted],
        activities=[charge],
        graceful_shutdown_timeout=timedelta(seconds=1),
    ):
        yield name


@pytest.fixture
async def world(temporal: Client, task_queue: str, workflow_id: str) -> AsyncIterator[World]:
    world = World(temporal, task_queue, workflow_id)
    yield world
    with contextlib.suppress(RPCError):  # an open workflow would slow down later tests
        await temporal.get_workflow_handle(workflow_id).terminate("end of test")
