"""The busy loops of `make test-stress` run exactly as long as the suite."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.polling import eventually
from tests.support.servers.restartable import has_ended

BUSY = Path(__file__).parents[2] / "support" / "commands" / "busy.py"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None])
async def test_the_loops_end_however_the_command_does(end: signal.Signals | None) -> None:
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, BUSY, "cat"), stdin=asyncio.subprocess.PIPE
    )
    loops: list[psutil.Process] = []

    async def has_become_the_command() -> bool:
        return psutil.Process(command.pid).name() == "cat"

    async def have_ended() -> bool:
        return all(map(has_ended, loops))

    await eventually(has_become_the_command)
    loops += psutil.Process(command.pid).children()
    assert len(loops) == len(os.sched_getaffinity(0))
    assert not any(map(has_ended, loops))
    if end is None:
        assert command.stdin is not None
        command.stdin.close()
    else:
        command.send_signal(end)

    assert await command.wait() == (0 if end is None else -end)
    await eventually(have_ended)


async def test_the_exit_code_is_the_commands() -> None:
    command = await asyncio.create_subprocess_exec(sys.executable, BUSY, "sh", "-c", "exit 3")

    assert await command.wait() == 3
