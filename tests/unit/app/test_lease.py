"""The lease as its holder sees it: acquired, kept, doubted, lost, released."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from reconciler.app import lease as module
from reconciler.app.lease import LEASE_TIME, MARGIN, LeaseKeeper
from reconciler.core.errors import DatabaseUnusable
from tests.support.polling import deadline

TRUSTED = LEASE_TIME.total_seconds() - MARGIN


@dataclass
class FakeLease:
    """Answers claims as set; remembers them."""

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
    """A keeper, its lease, and a clock that the test moves."""

    async def forget(self) -> None:
        self.forgotten += 1

    def __init__(self) -> None:
        self.now, self.forgotten = 1000.0, 0
        self.calls: list[str] = []
        self.lease = FakeLease()
        self.keeper = LeaseKeeper(
            self.lease,
            on_acquired=lambda: self.calls.append("acquired"),
            on_lost=lambda: self.calls.append("lost"),
            on_failed=self.forget,
            clock=lambda: self.now,
            is_overdue=lambda: self.overdue,
        )
        self.overdue = False


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_free_lease_is_acquired_once(bench: Bench) -> None:
    assert not bench.keeper.holds
    await bench.keeper.renew_once()
    await bench.keeper.renew_once()

    assert bench.keeper.holds
    assert bench.calls == ["acquired"]
    assert bench.lease.claims == [LEASE_TIME] * 2


async def test_a_lease_of_another_replica_is_waited_for(bench: Bench) -> None:
    bench.lease.answer = None
    await bench.keeper.renew_once()
    assert not bench.keeper.holds

    bench.lease.answer = 7
    await bench.keeper.renew_once()
    assert bench.keeper.holds
    assert bench.calls == ["acquired"]


async def test_a_lease_is_not_relied_upon_after_it_expires(bench: Bench) -> None:
    await bench.keeper.renew_once()

    bench.now += TRUSTED - 0.01
    assert bench.keeper.holds
    bench.now += 0.01
    assert not bench.keeper.holds


async def test_a_lease_counts_from_before_the_claim_was_sent(bench: Bench) -> None:
    def slow_answer() -> None:
        bench.now += 4

    bench.lease.during_claim = slow_answer
    await bench.keeper.renew_once()

    bench.now += TRUSTED - 4
    assert not bench.keeper.holds


async def test_a_failed_claim_does_not_lose_a_lease_that_has_not_expired(bench: Bench) -> None:
    await bench.keeper.renew_once()
    bench.lease.answer = DatabaseUnusable("unreachable")

    bench.now += TRUSTED - 1
    await bench.keeper.renew_once()
    assert bench.calls == ["acquired"]
    assert bench.keeper.holds
    assert bench.keeper.last_error == "unreachable"
    assert bench.forgotten == 1, "pooled connections may be what is wrong"

    bench.now += 1
    await bench.keeper.renew_once()
    await bench.keeper.renew_once()
    assert bench.calls == ["acquired", "lost"]


async def test_a_lease_is_acquired_again_after_an_outage(bench: Bench) -> None:
    await bench.keeper.renew_once()
    bench.lease.answer = DatabaseUnusable("unreachable")
    bench.now += TRUSTED
    await bench.keeper.renew_once()
    bench.lease.answer = 1
    await bench.keeper.renew_once()

    assert bench.calls == ["acquired", "lost", "acquired"]
    assert bench.keeper.holds


@pytest.mark.parametrize(
    ("epoch", "calls"),
    [
        pytest.param(None, ["acquired", "lost"], id="another replica has it"),
        pytest.param(3, ["acquired", "lost", "acquired"], id="another replica had it meanwhile"),
    ],
)
async def test_a_lease_that_went_to_another_replica_is_lost(
    bench: Bench, epoch: int | None, calls: list[str]
) -> None:
    await bench.keeper.renew_once()
    bench.lease.answer = epoch
    await bench.keeper.renew_once()

    assert bench.calls == calls
    assert bench.keeper.holds == (epoch is not None)


async def test_a_replica_is_on_standby_only_while_another_is_known_to_hold_the_lease(
    bench: Bench,
) -> None:
    assert not bench.keeper.is_standby

    bench.lease.answer = None
    await bench.keeper.renew_once()
    assert bench.keeper.is_standby

    bench.lease.answer = DatabaseUnusable("unreachable")
    await bench.keeper.renew_once()
    assert not bench.keeper.is_standby, "nobody knows"

    bench.lease.answer = 1
    await bench.keeper.renew_once()
    assert not bench.keeper.is_standby
    assert bench.keeper.last_error is None


async def test_a_pass_skipped_while_the_lease_was_in_doubt_is_made_up_for(
    bench: Bench,
) -> None:
    await bench.keeper.renew_once()
    bench.now += TRUSTED + 1
    await bench.keeper.renew_once()

    assert bench.calls == ["acquired", "acquired"], "it was never lost"


async def test_each_cause_of_an_outage_is_logged_once(bench: Bench) -> None:
    with capture_logs() as lines:
        for error in ("unreachable", "no answer", "unreachable", "no answer"):
            bench.lease.answer = DatabaseUnusable(error)
            await bench.keeper.renew_once()
        for _ in range(2):
            bench.lease.answer = 1
            await bench.keeper.renew_once()
        bench.lease.answer = DatabaseUnusable("unreachable")
        await bench.keeper.renew_once()

    errors = [line["error"] for line in lines if line["event"] == "lease_claim_failed"]
    assert errors == ["unreachable", "no answer", "unreachable"], "the last one is a new outage"


async def test_a_lease_released_for_a_while_is_not_claimed_meanwhile(bench: Bench) -> None:
    await bench.keeper.renew_once()
    await bench.keeper.release_for(30)
    assert not bench.keeper.holds
    assert bench.lease.released == 1

    bench.now += 29
    before = bench.keeper.renewed_at
    await bench.keeper.renew_once()
    assert len(bench.lease.claims) == 1
    assert bench.keeper.renewed_at > before, "the loop is alive"

    bench.now += 1
    await bench.keeper.renew_once()
    assert bench.keeper.holds
    assert bench.calls == ["acquired", "acquired"], "releasing it is not a loss"


async def test_a_claim_that_is_answered_after_the_release_does_not_undo_it(bench: Bench) -> None:
    releasing: list[asyncio.Task[None]] = []

    def release() -> None:
        releasing.append(asyncio.ensure_future(bench.keeper.release_for(30)))

    claim = bench.lease.claim

    async def slow(duration: timedelta) -> int | None:
        epoch = await claim(duration)
        await releasing[0]
        return epoch

    bench.lease.during_claim = release
    bench.lease.claim = slow  # type: ignore[method-assign]
    await bench.keeper.renew_once()

    assert not bench.keeper.holds
    assert bench.calls == []
    assert bench.lease.released == 2, "what was claimed meanwhile is released as well"


async def test_a_holder_that_starts_no_pass_when_one_is_due_releases_the_lease(
    bench: Bench,
) -> None:
    await bench.keeper.renew_once()
    bench.overdue = True
    await bench.keeper.renew_once()
    assert bench.keeper.holds, "the loop may be about to start it"

    with capture_logs() as lines:
        await bench.keeper.renew_once()
    assert not bench.keeper.holds
    assert bench.lease.released == 1
    assert bench.keeper.gave_up_at is not None
    assert [line["log_level"] for line in lines] == ["error"]

    bench.now += LEASE_TIME.total_seconds() - 1
    await bench.keeper.renew_once()
    assert len(bench.lease.claims) == 2, "another replica has the time to take it"
    bench.now += 1
    await bench.keeper.renew_once()
    assert bench.calls == ["acquired", "acquired"], "if there is none, it tries again"


async def test_a_pass_that_starts_late_does_not_release_the_lease(bench: Bench) -> None:
    await bench.keeper.renew_once()
    for overdue in (True, False, True, False):
        bench.overdue = overdue
        await bench.keeper.renew_once()

    assert bench.keeper.holds
    assert bench.keeper.gave_up_at is None


async def test_a_replica_without_the_lease_is_never_overdue(bench: Bench) -> None:
    bench.lease.answer, bench.overdue = None, True
    for _ in range(3):
        await bench.keeper.renew_once()

    assert bench.lease.released == 0


async def test_a_silent_database_delays_neither_claim_nor_release(
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
        await bench.keeper.renew_once()
        await bench.keeper.release()

    assert not bench.keeper.holds


async def test_claims_never_stop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLAIM_EVERY", 0)
    monkeypatch.setattr(module, "CLAIM_AGAIN", 0)
    often = asyncio.Event()

    def count() -> None:
        bench.lease.answer = 1 if len(bench.lease.claims) % 2 else DatabaseUnusable("unreachable")
        if len(bench.lease.claims) >= 6:
            often.set()

    bench.lease.during_claim = count
    keeping = asyncio.create_task(bench.keeper.run())
    async with deadline():
        await often.wait()
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


async def test_holding_the_lease_and_standby_are_logged_once(bench: Bench) -> None:
    with capture_logs() as lines:
        for answer in (None, None, 1, 1):
            bench.lease.answer = answer
            await bench.keeper.renew_once()

    logged = [(line["event"], line["log_level"]) for line in lines]
    assert logged == [("standby", "info"), ("lease_acquired", "info")]
