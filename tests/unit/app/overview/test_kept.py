"""Answers that are kept: who asks, who waits, and what is shown meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from reconciler.app.overview import kept as module
from reconciler.app.overview import patience
from reconciler.app.overview.kept import CURRENT, LONGEST, OLD, PER_SECOND, Kept
from reconciler.core.errors import DatabaseUnusable


@dataclass
class Server:
    """Answers with the number of the question, by a clock of its own."""

    time: float = 0.0
    takes: float = 0.0
    asked: int = 0
    error: Exception | None = None
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def answer(self) -> int:
        self.asked += 1
        await self.open.wait()
        self.time += self.takes
        if self.error:
            raise self.error
        return self.asked

    def kept(self) -> Kept[int]:
        return Kept(self.answer, lambda: self.time)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 0.01)
    monkeypatch.setattr(module, "HURRY", 0.01)


async def test_views_at_the_same_time_share_one_question() -> None:
    server = Server()
    kept = server.kept()

    assert await asyncio.gather(*(kept.get() for _ in range(9))) == [1] * 9


@pytest.mark.parametrize(
    ("takes", "current"),
    [
        pytest.param(0.01, CURRENT, id="quick"),
        pytest.param(0.2, PER_SECOND * 0.2, id="slow: two percent of the time"),
        pytest.param(30.0, LONGEST, id="very slow"),
    ],
)
async def test_an_answer_is_current_for_longer_the_longer_it_took(
    takes: float, current: float
) -> None:
    server = Server(takes=takes)
    kept = server.kept()
    await kept.get()

    server.time += current - 0.01
    assert await kept.get() == 1
    server.time += 0.02
    assert await kept.get() == 2


async def test_what_runs_out_of_time_costs_no_more_than_an_answer() -> None:
    server = Server(takes=2.0, error=DatabaseUnusable("cancelled: it took longer than 2 s", ""))
    kept = server.kept()
    await kept.get()

    server.time += LONGEST - 0.01
    await kept.get()
    assert (server.asked, kept.error_age) == (1, LONGEST - 0.01), "with the time of the failure"
    kept.retry()
    await kept.get()
    assert server.asked == 2, "unless there is reason to hope"


async def test_an_answer_about_trouble_is_current_for_moments_however_long_it_took() -> None:
    server = Server(takes=3.0)
    kept = Kept(server.answer, lambda: server.time, longest=CURRENT)
    await kept.get()

    server.time += CURRENT
    assert await kept.get() == 2


async def test_a_view_that_cannot_wait_shows_the_last_answer_and_the_question_goes_on() -> None:
    server = Server()
    kept = server.kept()
    await kept.get()
    server.open.clear()
    server.time += CURRENT

    assert (await kept.get(), kept.error) == (1, None), "a little old is no trouble"
    server.time += OLD + 0.01
    assert (await kept.get(), kept.error) == (1, "no answer within 0.01 s")
    assert server.asked == 2, "the same question"

    server.open.set()
    assert (await kept.get(), kept.error) == (2, None)


async def test_a_failure_keeps_the_last_answer_and_its_age() -> None:
    server = Server()
    kept = server.kept()
    await kept.get()
    server.time += 10
    server.error = DatabaseUnusable("the database is unreachable", "check DATABASE_URL")

    assert await kept.get() == 1
    assert (kept.error, kept.age) == (str(server.error), 10)

    await kept.get()
    assert server.asked == 2, "not asked by every view"
    server.time, server.error = server.time + CURRENT, None
    assert (await kept.get(), kept.error) == (3, None)


async def test_a_question_without_an_answer_is_given_up_and_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "GIVE_UP", 0.001)
    monkeypatch.setattr(patience, "PATIENCE", 30)
    server = Server()
    kept = server.kept()
    server.open.clear()

    assert (await kept.get(), kept.error) == (None, "no answer within 0.001 s")
    server.open.set()
    server.time += CURRENT
    assert (await kept.get(), kept.error) == (2, None)


async def test_a_bug_is_logged_and_is_a_failure_of_one_answer() -> None:
    server = Server(error=KeyError("secret"))
    kept = server.kept()
    with capture_logs() as logs:
        assert await kept.get() is None

    assert kept.error == "internal error: KeyError"
    assert [line["event"] for line in logs] == ["page_failed"]


async def test_a_view_that_goes_away_does_not_end_the_question_for_others() -> None:
    server = Server()
    kept = server.kept()
    server.open.clear()
    leaving, staying = asyncio.create_task(kept.get()), asyncio.create_task(kept.get())
    await asyncio.sleep(0)
    leaving.cancel()
    server.open.set()

    assert await staying == 1


async def test_who_is_patient_waits_for_a_newer_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    kept = server.kept()
    await kept.get()
    server.time += CURRENT
    server.open.clear()
    assert await kept.get() == 1
    monkeypatch.setattr(patience, "PATIENCE", 30.0)
    asyncio.get_running_loop().call_later(0.02, server.open.set)

    assert await kept.get(patient=True) == 2
