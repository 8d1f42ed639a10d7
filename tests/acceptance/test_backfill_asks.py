"""At a terminal: the question before anything is written, and the bar."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from temporalio.client import Client

from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.stage import Stage
from tests.support.polling import eventually


@dataclass
class Terminal:
    """A command at a terminal of its own: what it has printed so far, and what is typed."""

    process: asyncio.subprocess.Process
    file: int
    seen: str = ""

    async def prints(self, text: str) -> None:
        async def printed() -> bool:
            self._read()
            return text in self.seen

        await eventually(printed)

    def type(self, text: str) -> None:
        os.write(self.file, text.encode())

    async def code(self) -> int:
        async def ended() -> bool:
            self._read()
            return self.process.returncode is not None

        await eventually(ended)
        assert self.process.returncode is not None
        return self.process.returncode

    def _read(self) -> None:
        try:
            self.seen += os.read(self.file, 65536).decode(errors="replace")
        except (BlockingIOError, OSError):  # nothing there, or the command has ended
            return


@pytest.fixture
async def stage(database: Database, temporal: Client, workflow_id: str) -> AsyncIterator[Stage]:
    stage = Stage(database, temporal, workflow_id)
    await stage.insert(await stage.closed(), 3)
    yield stage
    await stage.end()


@pytest.fixture
async def terminal(reconciler: Command, stage: Stage) -> AsyncIterator[Terminal]:
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    environment = {**reconciler.environment, "PATH": os.environ["PATH"], "TERM": "xterm"}
    process = await asyncio.create_subprocess_exec(
        reconciler.program,
        "backfill",
        "--apply",
        env={**environment, "HOME": str(reconciler.folder), "COLUMNS": "120"},
        cwd=reconciler.folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    terminal = Terminal(process, ours)
    try:
        await terminal.prints("Write into workflow_executions? [y/N]")
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)


async def test_what_lies_ahead_is_told_before_the_question(terminal: Terminal) -> None:
    assert "3 rows of workflow_executions, marked running" in terminal.seen


async def test_yes_writes_and_shows_a_bar(terminal: Terminal, stage: Stage) -> None:
    terminal.type("y\n")

    assert await terminal.code() == 0
    assert await stage.statuses() == {"failed": 3}
    assert "3/3 rows" in terminal.seen
    assert "3 written" in terminal.seen


async def test_no_writes_nothing(terminal: Terminal, stage: Stage) -> None:
    before = await stage.contents()

    terminal.type("n\n")

    assert await terminal.code() == 0
    assert "nothing was written" in terminal.seen
    assert await stage.contents() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_at_the_question_writes_nothing(
    terminal: Terminal, stage: Stage, number: signal.Signals
) -> None:
    before = await stage.contents()

    terminal.process.send_signal(number)

    assert await terminal.code() == 130
    assert "Traceback" not in terminal.seen
    assert await stage.contents() == before
