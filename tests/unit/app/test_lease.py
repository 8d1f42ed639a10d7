"""The lease as its holder sees it: taken, kept, doubted, lost, given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from reconciler.app import lease as module
from reconciler.app.lease import LEASE_TIME, MARGIN, Keeper
from reconciler.core.errors import DatabaseUnusable
from tests.support.polling import deadline

TRUSTED = LEASE_TIME.total_seconds() - MARGIN


@dataclass
class FakeLease:
    """Answers claims from a script; remembers what it was asked."""

    answer: int | Exception | None = 1
    released: int = 0
    during_claim: Callable[[], None] = lambda: None
    claims: list[timedelta] = field(default_factory=list)

    async def claim(self, duration: timedelta) -> int | None:
        self.claims.append(duration)
        self.during_claim()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def release(self) -> None:
        self.released += 1


class Bench:
    """A keeper, its lease, and a clock that moves when it is told to."""

    async def forget(self) -> None:
        self.forgotten += 1

    def __init__(self) -> None:
        self.now, self.forgotten = 1000.0, 0
        self.heard: list[str] = []
        self.lease = FakeLease()
        self.keeper = Keeper(
            self.lease,
            on_taken=lambda: self.heard.append("taken"),
            on_lost=lambda: self.heard.append("lost"),
            on_failed=self.forget,
            clock=lambda: self.now,
            is_overdue=lambda: self.overdue,
        )
        self.overdue = False


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_free_lease_is_taken_and_said_so_once(bench: Bench) -> None:
    assert not bench.keeper.holds
    await bench.keeper.turn()
    await bench.keeper.turn()

    assert bench.keeper.holds
    assert bench.heard == ["taken"]
    assert bench.lease.claims == [LEASE_TIME] * 2


async def test_one_that_another_replica_has_is_waited_for(bench: Bench) -> None:
    bench.lease.answer = None
    await bench.keeper.turn()
    assert not bench.keeper.holds

    bench.lease.answer = 7
    await bench.keeper.turn()
    assert bench.keeper.holds
    assert bench.heard == ["taken"]


async def test_it_is_not_relied_upon_past_its_time(bench: Bench) -> None:
    await bench.keeper.turn()

    bench.now += TRUSTED - 0.01
    assert bench.keeper.holds
    bench.now += 0.01
    assert not bench.keeper.holds


async def test_its_time_counts_from_before_the_claim_was_sent(bench: Bench) -> None:
    def slow_answer() -> None:
        bench.now += 4

    bench.lease.during_claim = slow_answer
    await bench.keeper.turn()

    bench.now += TRUSTED - 4
    assert not bench.keeper.holds


async def test_a_claim_that_fails_loses_nothing_as_long_as_there_is_time(bench: Bench) -> None:
    await bench.keeper.turn()
    bench.lease.answer = DatabaseUnusable("away")

    bench.now += TRUSTED - 1
    await bench.keeper.turn()
    assert bench.heard == ["taken"]
    assert bench.keeper.holds
    assert bench.keeper.trouble == "away"
    assert bench.forgotten == 1, "pooled connections may be what is wrong"

    bench.now += 1
    await bench.keeper.turn()
    await bench.keeper.turn()
    assert bench.heard == ["taken", "lost"]


async def test_after_an_outage_it_is_taken_anew(bench: Bench) -> None:
    await bench.keeper.turn()
    bench.lease.answer = DatabaseUnusable("away")
    bench.now += TRUSTED
    await bench.keeper.turn()
    bench.lease.answer = 1
    await bench.keeper.turn()

    assert bench.heard == ["taken", "lost", "taken"]
    assert bench.keeper.holds


@pytest.mark.parametrize(
    ("epoch", "heard"),
    [
        pytest.param(None, ["taken", "lost"], id="somebody else has it"),
        pytest.param(3, ["taken", "lost", "taken"], id="somebody else had it meanwhile"),
    ],
)
async def test_a_lease_that_went_to_another_replica_is_lost(
    bench: Bench, epoch: int | None, heard: list[str]
) -> None:
    await bench.keeper.turn()
    bench.lease.answer = epoch
    await bench.keeper.turn()

    assert bench.heard == heard
    assert bench.keeper.holds == (epoch is not None)


async def test_it_stands_by_only_while_another_replica_is_known_to_have_it(bench: Bench) -> None:
    assert not bench.keeper.stands_by

    bench.lease.answer = None
    await bench.keeper.turn()
    assert bench.keeper.stands_by

    bench.lease.answer = DatabaseUnusable("away")
    await bench.keeper.turn()
    assert not bench.keeper.stands_by, "nobody knows"

    bench.lease.answer = 1
    await bench.keeper.turn()
    assert not bench.keeper.stands_by
    assert bench.keeper.trouble is None


async def test_a_pass_left_out_while_it_could_not_be_relied_upon_is_made_up_for(
    bench: Bench,
) -> None:
    await bench.keeper.turn()
    bench.now += TRUSTED + 1
    await bench.keeper.turn()

    assert bench.heard == ["taken", "taken"], "and it was never lost"


async def test_a_long_outage_is_told_once_a_minute(bench: Bench) -> None:
    bench.lease.answer = DatabaseUnusable("away")
    with capture_logs() as lines:
        for _ in range(130):
            await bench.keeper.turn()
            bench.now += 1

    assert [line["error"] for line in lines] == ["away"] * 3


async def test_who_stands_back_gives_it_up_and_does_not_claim_for_a_while(bench: Bench) -> None:
    await bench.keeper.turn()
    await bench.keeper.stand_back(30)
    assert not bench.keeper.holds
    assert bench.lease.released == 1

    bench.now += 29
    before = bench.keeper.turned_at
    await bench.keeper.turn()
    assert len(bench.lease.claims) == 1
    assert bench.keeper.turned_at > before, "it turns all the same"

    bench.now += 1
    await bench.keeper.turn()
    assert bench.keeper.holds
    assert bench.heard == ["taken", "taken"], "losing it on purpose is no loss"


async def test_a_claim_under_way_does_not_undo_standing_back(bench: Bench) -> None:
    standing_back: list[asyncio.Task[None]] = []

    def stand_back() -> None:
        standing_back.append(asyncio.ensure_future(bench.keeper.stand_back(30)))

    claim = bench.lease.claim

    async def slow(duration: timedelta) -> int | None:
        epoch = await claim(duration)
        await standing_back[0]
        return epoch

    bench.lease.during_claim = stand_back
    bench.lease.claim = slow  # type: ignore[method-assign]
    await bench.keeper.turn()

    assert not bench.keeper.holds
    assert bench.heard == []
    assert bench.lease.released == 2, "what was claimed in between is given up as well"


async def test_a_holder_that_starts_no_pass_when_one_is_due_gives_the_lease_up(
    bench: Bench,
) -> None:
    await bench.keeper.turn()
    bench.overdue = True
    await bench.keeper.turn()
    assert bench.keeper.holds, "the loop may be about to start it"

    with capture_logs() as lines:
        await bench.keeper.turn()
    assert not bench.keeper.holds
    assert bench.lease.released == 1
    assert bench.keeper.gave_up_at is not None
    assert [line["log_level"] for line in lines] == ["error"]

    bench.now += LEASE_TIME.total_seconds() - 1
    await bench.keeper.turn()
    assert len(bench.lease.claims) == 2, "another replica has the time to take it"
    bench.now += 1
    await bench.keeper.turn()
    assert bench.heard == ["taken", "taken"], "if there is none, it tries again"


async def test_a_pass_that_is_late_and_then_starts_is_no_reason(bench: Bench) -> None:
    await bench.keeper.turn()
    for overdue in (True, False, True, False):
        bench.overdue = overdue
        await bench.keeper.turn()

    assert bench.keeper.holds
    assert bench.keeper.gave_up_at is None


async def test_who_does_not_hold_the_lease_owes_no_pass(bench: Bench) -> None:
    bench.lease.answer, bench.overdue = None, True
    for _ in range(3):
        await bench.keeper.turn()

    assert bench.lease.released == 0


async def test_a_silent_database_holds_up_neither_turn_nor_release(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLAIM_TIMEOUT", 0.01)
    monkeypatch.setattr(module, "RELEASE_TIMEOUT", 0.01)

    async def silence(*_: object) -> int | None:
        await asyncio.Event().wait()
        raise AssertionError

    bench.lease.claim = silence  # type: ignore[method-assign, assignment]
    bench.lease.release = silence  # type: ignore[method-assign, assignment]

    async with deadline():
        await bench.keeper.turn()
        await bench.keeper.release()

    assert not bench.keeper.holds


async def test_it_goes_on_claiming(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLAIM_EVERY", 0)
    monkeypatch.setattr(module, "CLAIM_AGAIN", 0)
    often = asyncio.Event()

    def count() -> None:
        bench.lease.answer = 1 if len(bench.lease.claims) % 2 else DatabaseUnusable("away")
        if len(bench.lease.claims) >= 6:
            often.set()

    bench.lease.during_claim = count
    keeping = asyncio.create_task(bench.keeper.keep())
    async with deadline():
        await often.wait()
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


async def test_the_log_says_once_whether_it_holds_the_lease_or_is_on_standby(bench: Bench) -> None:
    with capture_logs() as lines:
        for answer in (None, None, 1, 1):
            bench.lease.answer = answer
            await bench.keeper.turn()

    said = [(line["event"], line["log_level"]) for line in lines]
    assert said == [("standby", "info"), ("lease_acquired", "info")]
