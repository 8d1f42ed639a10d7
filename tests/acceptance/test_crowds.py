"""A crowd of idle connections and few descriptors: `run` answers, passes, and stays quiet."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.conftest import Database
from tests.support.commands.command import RECONCILER, Command
from tests.support.commands.daemon import Daemon, daemon
from tests.support.polling import eventually
from tests.support.temporal.world import World

DESCRIPTORS = 128
#: Three times as many as there are descriptors.
CROWD = 400
#: Of these, one third sends nothing, one half a request, and one keeps its connection afterwards.
SENT = (b"", b"GET /livez HTTP/1.1\r\nHos", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")


@pytest.fixture
def poor(reconciler: Command, tmp_path: Path) -> Command:
    """The command, with few descriptors."""
    program = tmp_path / "poor"
    program.write_text(f'#!/bin/sh\nulimit -n {DESCRIPTORS}\nexec {RECONCILER} "$@"\n')
    program.chmod(0o755)
    return replace(reconciler, program=program)


@asynccontextmanager
async def crowd(port: int) -> AsyncIterator[None]:
    opening = [asyncio.open_connection("127.0.0.1", port) for _ in range(CROWD)]
    opened = await asyncio.gather(*opening, return_exceptions=True)
    writers = [each[1] for each in opened if not isinstance(each, BaseException)]
    for writer, sent in zip(writers, itertools.cycle(SENT), strict=False):
        writer.write(sent)
    yield
    for writer in writers:
        writer.close()


async def repaired(running: Daemon, database: Database, world: World) -> None:
    """A pass finishes a row."""
    failed = await world.ended(await world.start("fail"))
    id_ = await database.insert(failed.workflow_id, failed.run_id)

    async def is_finished() -> bool:
        return (await database.row(id_))["status"] == "failed"

    await eventually(is_finished)


async def test_a_crowd_holds_nothing_up(poor: Command, database: Database, world: World) -> None:
    async with daemon(poor) as running:
        await eventually(running.ready)
        port = (await running.said("http_listening"))["port"]
        async with crowd(port):
            await repaired(running, database, world)
            for path in ("/livez", "/readyz", "/metrics"):
                assert (await running.get(path)).status_code == 200
            process = psutil.Process(running.process.pid)
            assert process.num_fds() < DESCRIPTORS - 40, "there is room for others"
        assert await running.stop() == 0

    # A machine that is busy may make passes late, which is logged too.
    lines = [line["event"] for line in running.lines if line["event"] != "pass_overran"]
    started = {"http_listening", "loop_started", "lease_acquired"}
    assert set(lines) == started | {"row_finished", "pass_finished", "stopping", "stopped"}
    assert len(lines) < 20
