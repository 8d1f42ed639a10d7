"""What waits is bounded, and what goes wrong is logged once and reaches nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from reconciler.core.errors import (
    DatabaseUnfit,
    DatabaseUnusable,
    TemporalUnfit,
    TemporalUnusable,
)
from reconciler.core.model import Finish, Leave, LeaveReason, Outcome, RunRow, Verdict
from reconciler.worker.after_close import backlog
from reconciler.worker.after_close.backlog import Backlog
from reconciler.worker.after_close.finisher import Finisher
from reconciler.worker.after_close.notice import EndNotice

ROW = RunRow("", "w", "r", None)
FINISH = Finish(Outcome(ROW, "completed", datetime.now(UTC), None, "COMPLETED", "r"))
OPEN = Leave(ROW, LeaveReason.OPEN)
NOTICE = EndNotice("w", "r", "r", None, 3)


@dataclass
class Scripted:
    """A finisher that answers with these; an exception is raised. The last is repeated."""

    looks: list[Verdict | Exception | None] = field(default_factory=lambda: [FINISH])
    writes: list[bool | Exception] = field(default_factory=lambda: [True])
    looked: int = 0
    wrote: int = 0
    is_closed: bool = False
    may_look: asyncio.Event = field(default_factory=asyncio.Event)

    def start_round(self) -> None: ...

    async def close(self) -> None:
        self.is_closed = True

    async def look(self, _: EndNotice) -> Verdict | None:
        await self.may_look.wait()
        answer = self.looks[min(self.looked, len(self.looks) - 1)]
        self.looked += 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def write(self, _: EndNotice, __: Finish) -> bool:
        answer = self.writes[min(self.wrote, len(self.writes) - 1)]
        self.wrote += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def opened(finisher: Scripted, *, hold: bool = False) -> AsyncIterator[Backlog]:
    """A backlog that has settled everything in the end."""
    made = Backlog(cast("Finisher", finisher))
    if not hold:
        finisher.may_look.set()
    yield made
    await made.close()
    assert finisher.is_closed


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "LOOKS", (0.0,) * 4)
    monkeypatch.setattr(backlog, "WRITES", (0.0,) * 3)


@pytest.mark.parametrize(
    ("finisher", "calls", "lines"),
    [
        (Scripted(), (1, 1), 0),
        (Scripted([OPEN, replace(OPEN, reason=LeaveReason.UNKNOWN), FINISH]), (3, 1), 0),
        (Scripted([OPEN]), (4, 0), 0),
        (Scripted([None]), (1, 0), 0),
        (Scripted([replace(OPEN, reason=LeaveReason.COMPLETED)]), (1, 0), 0),
        (Scripted([TemporalUnusable("down"), FINISH]), (2, 1), 1),
        (Scripted([TemporalUnusable("down")]), (4, 0), 1),
        (Scripted([TemporalUnfit("denied")]), (1, 0), 1),
        (Scripted([ValueError("a\nb")]), (1, 0), 1),
        (Scripted(writes=[False, True]), (1, 2), 0),
        (Scripted(writes=[False]), (1, 3), 0),
        (Scripted(writes=[DatabaseUnusable("down"), True]), (1, 2), 1),
        (Scripted(writes=[DatabaseUnusable("down")]), (1, 3), 1),
        (Scripted(writes=[DatabaseUnfit("no column")]), (1, 1), 1),
    ],
)
async def test_how_often_it_tries_and_what_it_logs(
    caplog: pytest.LogCaptureFixture, finisher: Scripted, calls: tuple[int, int], lines: int
) -> None:
    async with opened(finisher) as made:
        made.take(NOTICE)
        while made._tasks or not finisher.looked:
            await asyncio.sleep(0)

    assert (finisher.looked, finisher.wrote) == calls
    assert len(caplog.messages) == lines
    assert all("the end of workflow w could not be written" in line for line in caplog.messages)


async def test_notices_come_from_any_thread_and_any_context() -> None:
    finisher = Scripted()
    async with opened(finisher) as made:
        thread = threading.Thread(target=made.take, args=[NOTICE])
        thread.start()
        thread.join()

    assert finisher.wrote == 1


async def test_more_than_the_limit_are_dropped_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backlog, "MAX_WAITING", 2)
    finisher = Scripted()
    async with opened(finisher, hold=True) as made:
        for number in range(5):
            made.take(replace(NOTICE, run_id=str(number)))
        await asyncio.sleep(0)
        finisher.may_look.set()

    assert finisher.wrote == 2
    assert caplog.messages == [
        "2 workflow ends wait to be written: more are left to the reconciler"
    ]


async def test_a_write_does_not_wait_for_the_looks_at_other_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backlog, "MAX_CONCURRENT", 1)
    finisher = Scripted()
    looked: list[int] = []
    write = finisher.write

    async def record(notice: EndNotice, finish: Finish) -> bool:
        looked.append(finisher.looked)
        return await write(notice, finish)

    monkeypatch.setattr(finisher, "write", record)
    async with opened(finisher, hold=True) as made:
        for number in range(9):
            made.take(replace(NOTICE, run_id=str(number)))
        for _ in range(9):
            await asyncio.sleep(0)
        finisher.may_look.set()

    assert len(looked) == 9
    assert looked[0] < 9


async def test_only_the_last_notice_of_a_run_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "LOOKS", (0.01,))
    finisher = Scripted()
    async with opened(finisher) as made:
        for _ in range(3):
            made.take(replace(NOTICE))

    assert (finisher.looked, finisher.wrote) == (1, 1)


@pytest.mark.parametrize(("answer", "writes"), [(FINISH, 2), (None, 1), (OPEN, 1)])
async def test_a_run_is_looked_at_again_before_a_late_write(
    monkeypatch: pytest.MonkeyPatch, answer: Verdict | None, writes: int
) -> None:
    monkeypatch.setattr(backlog, "WRITES", (0.0, 0.05))
    monkeypatch.setattr(backlog, "MAX_AGE", 0.04)
    finisher = Scripted([FINISH, answer], writes=[DatabaseUnusable("down"), True])
    async with opened(finisher) as made:
        made.take(NOTICE)
        while made._tasks or not finisher.looked:
            await asyncio.sleep(0)

    assert (finisher.looked, finisher.wrote) == (2, writes)


async def test_the_shutdown_waits_for_the_database_only_so_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backlog, "DRAIN_TIMEOUT", 0.05)
    async with opened(Scripted(), hold=True) as made:
        made.take(NOTICE)

    assert caplog.messages == [
        "the worker has stopped, and leaves 1 workflow end to the reconciler"
    ]


async def test_the_shutdown_tries_once_more_to_find_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "WRITES", (0.0, 1000.0, 1000.0))
    finisher = Scripted(writes=[False])
    async with opened(finisher) as made:
        made.take(NOTICE)
        while not finisher.wrote:
            await asyncio.sleep(0)

    assert finisher.wrote == 2


async def test_a_notice_after_the_end_of_the_event_loop_is_ignored() -> None:
    def make() -> Any:
        async def inside() -> Backlog:
            return Backlog(cast("Finisher", Scripted()))

        return asyncio.run(inside())

    closed = await asyncio.to_thread(make)

    closed.take(NOTICE)
