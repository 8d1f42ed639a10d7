"""At a terminal: the question before anything is written, and the bar."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.stage import Stage
from tests.support.commands.terminal import Terminal, at_terminal


@pytest.fixture
async def stage(database: Database, temporal: Client, workflow_id: str) -> AsyncIterator[Stage]:
    stage = Stage(database, temporal, workflow_id)
    await stage.insert(await stage.closed(), 3)
    yield stage
    await stage.end()


@pytest.fixture
async def terminal(reconciler: Command, stage: Stage) -> AsyncIterator[Terminal]:
    async with at_terminal(reconciler, "backfill", "--apply") as terminal:
        await terminal.prints("Write into workflow_executions? [y/N]")
        yield terminal


async def test_yes_writes_and_shows_a_bar(terminal: Terminal, stage: Stage) -> None:
    assert "3 rows of workflow_executions, marked running" in terminal.seen, "before the question"

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


async def test_a_signal_at_the_question_writes_nothing(terminal: Terminal, stage: Stage) -> None:
    before = await stage.contents()

    terminal.process.send_signal(signal.SIGTERM)

    assert await terminal.code() == 130
    assert "Traceback" not in terminal.seen
    assert await stage.contents() == before
