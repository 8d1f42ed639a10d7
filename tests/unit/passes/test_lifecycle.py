"""What becomes of a pass whose clock cannot be read."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.report import PassOutcome, PassReport
from reconciler.core.request import PassRequest
from reconciler.passes.lifecycle import read_clock
from tests.support.factories import NOW
from tests.support.fakes import FakeHistory, Recorder

EARLIER = datetime(1970, 1, 1, tzinfo=NOW.tzinfo)


def report(*, resumed: bool = False) -> PassReport:
    return PassReport("1", PassRequest("run"), started_at=EARLIER, resumed=resumed)


async def test_the_pass_began_when_the_clock_was_read() -> None:
    new, heard = report(), Recorder()

    async def read() -> datetime:
        return NOW

    assert await read_clock(new, FakeHistory(), [heard], read) == NOW
    assert new.started_at == NOW
    assert heard.ended == [], "it goes on"


async def test_one_that_is_resumed_began_when_it_did() -> None:
    old = report(resumed=True)

    async def read() -> datetime:
        return NOW

    assert await read_clock(old, FakeHistory(), [], read) == NOW
    assert old.started_at == EARLIER


async def test_a_clock_that_cannot_be_read_aborts_the_pass_and_observers_hear_of_it() -> None:
    new, heard = report(), Recorder()

    async def read() -> datetime:
        raise DatabaseUnusable("gone")

    assert await read_clock(new, FakeHistory(), [heard], read) is None
    assert (new.outcome, new.error) == (PassOutcome.ABORTED, "gone")
    assert heard.ended == [new]


async def test_one_that_is_stopped_meanwhile_is_a_pass_that_was_stopped() -> None:
    new, heard, reading = report(), Recorder(), asyncio.Event()

    async def read() -> datetime:
        reading.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(read_clock(new, FakeHistory(), [heard], read))
    await reading.wait()
    task.cancel()

    assert await task is None
    assert new.stopped
    assert heard.ended == [new]


async def test_a_bug_ends_the_pass_and_is_raised() -> None:
    heard, new = Recorder(), report()

    async def read() -> datetime:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await read_clock(new, FakeHistory(), [heard], read)
    assert heard.ended == [new]
    assert new.error == "internal error: ZeroDivisionError()"


@pytest.mark.parametrize("resumed", [False, True])
async def test_the_history_hears_of_it_only_if_it_knows_the_pass(resumed: bool) -> None:
    history, old = FakeHistory(), report(resumed=resumed)

    async def read() -> datetime:
        raise DatabaseUnusable("gone")

    await read_clock(old, history, [], read)

    assert history.ended == [old] * resumed
