"""When the feed is polled, and what happens if a poll fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from reconciler.core.errors import DatabaseUnusable, TemporalUnusable
from reconciler.daemon import feed_loop as module
from reconciler.daemon.feed_loop import FeedLoop
from reconciler.passes.feed.feed import Feed
from tests.support.polling import deadline, eventually

AT_ONCE = timedelta(milliseconds=1)


@dataclass
class FakeNamespace:
    name: str = "default"
    why_off: str | None = None
    failure: str | None = None


@dataclass
class FakeFeed:
    """Polls by running `script`."""

    script: Callable[[], Any] = lambda: None
    polls: int = 0
    awaits_pass: bool = False
    is_stopping: bool = False
    namespaces: list[FakeNamespace] = field(default_factory=lambda: [FakeNamespace()])
    is_set_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def poll(self) -> None:
        self.polls += 1
        waiting = self.script()
        if waiting is not None:
            await waiting


def loop(
    *feeds: FakeFeed,
    interval: timedelta = AT_ONCE,
    rps: tuple[float, ...] = (0,),
    gaps: list[int] | None = None,
    crashes: list[int] | None = None,
    failures: list[str] | None = None,
    sharers: int = 1,
) -> FeedLoop:
    made = iter(feeds)
    return FeedLoop(
        lambda: cast("Feed", next(made)),
        interval,
        {f"LIMIT_{place}": each for place, each in enumerate(rps)},
        on_gap=lambda: (gaps if gaps is not None else []).append(1),
        on_crash=lambda: (crashes if crashes is not None else []).append(1),
        on_failed=(failures if failures is not None else []).append,
        sharers=sharers,
    )


async def polled(feed: FakeFeed, times: int) -> None:
    async def enough() -> bool:
        return feed.polls >= times

    await eventually(enough)


async def ended(of: FeedLoop) -> None:
    of.stop()
    assert of.task is not None
    async with deadline():
        await asyncio.wait({of.task})


async def test_no_interval_means_no_feed() -> None:
    off = loop(interval=timedelta())

    off.start()

    assert (off.feed, off.task, await off.set_up()) == (None, None, None)


async def test_a_failed_poll_is_logged_once_until_it_succeeds() -> None:
    def fail_twice() -> None:
        if feed.polls in (1, 2, 5):
            raise DatabaseUnusable("away")

    feed = FakeFeed(fail_twice)
    running = loop(feed)
    with capture_logs() as lines:
        running.start()
        await polled(feed, 7)
        await ended(running)

    assert [line["event"] for line in lines] == ["feed_failed", "feed_failed"]


async def test_a_failure_is_not_logged_again_while_a_namespace_waits_after_it() -> None:
    def fail_and_wait() -> None:
        if feed.polls in (1, 5):
            feed.namespaces[0].failure = "away"
            raise TemporalUnusable("away")

    feed = FakeFeed(fail_and_wait)
    running = loop(feed)
    with capture_logs() as lines:
        running.start()
        await polled(feed, 6)
        await ended(running)

    assert [line["event"] for line in lines] == ["feed_failed"]


async def test_a_feed_whose_pass_absorbs_the_cancellation_is_polled_no_more() -> None:
    async def absorb() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    first, second = FakeFeed(absorb), FakeFeed()
    running = loop(first, second)
    running.start()
    await polled(first, 1)
    running.stop()
    running.start()

    await polled(second, 1)

    assert first.polls == 1
    await ended(running)


@pytest.mark.parametrize("bug", [ZeroDivisionError(), asyncio.CancelledError()])
async def test_a_bug_does_not_end_the_polls_and_each_time_counts(bug: BaseException) -> None:
    def fail() -> None:
        raise bug

    feed, crashes = FakeFeed(fail), list[int]()
    running = loop(feed, crashes=crashes)
    with capture_logs() as lines:
        running.start()
        await polled(feed, 3)
        why = running.why_failing
        await ended(running)

    assert [line["event"] for line in lines] == ["feed_crashed"]
    assert len(crashes) >= 2
    assert why == f"internal error: {bug!r}"


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (FakeNamespace("b"), None),
        (FakeNamespace("b", failure="away"), "namespace b: away"),
        (FakeNamespace("b", "not sorted", "away"), "namespace b: not sorted"),
    ],
)
async def test_what_keeps_it_from_being_followed(other: FakeNamespace, why: str | None) -> None:
    feed, failures = FakeFeed(namespaces=[FakeNamespace("a"), other]), list[str]()
    running = loop(feed, failures=failures)
    assert running.why_failing is None
    running.start()
    await polled(feed, 2)
    shown = running.why_failing
    await ended(running)

    assert (shown, running.why_failing) == (why, None)
    assert set(failures) == ({why} if why else set()), "noted after each poll"


async def test_the_error_of_a_poll_is_shown_until_one_succeeds() -> None:
    shown = list[str | None]()

    def fail_once() -> None:
        shown.append(running.why_failing)
        if feed.polls == 1:
            raise DatabaseUnusable("away")

    feed = FakeFeed(fail_once)
    running = loop(feed)
    running.start()
    await polled(feed, 3)
    await ended(running)

    assert shown[:3] == [None, "away", None]


async def test_a_stopped_feed_is_cancelled_once_and_the_next_waits_for_its_end() -> None:
    may_end, cancelled = asyncio.Event(), []

    async def stop_slowly() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(1)
        await may_end.wait()
        raise asyncio.CancelledError

    first, second = FakeFeed(stop_slowly), FakeFeed()
    running = loop(first, second)
    running.start()
    await polled(first, 1)
    running.stop()
    running.stop()
    running.start()
    assert running.feed is cast("Feed", second)
    for _ in range(5):
        await asyncio.sleep(0)
    assert (cancelled, second.polls) == ([1], 0)

    may_end.set()

    await polled(second, 1)
    await ended(running)


async def test_a_pass_waits_for_the_first_poll() -> None:
    feed = FakeFeed()
    running = loop(feed)
    running.start()
    waiting = asyncio.create_task(running.set_up())
    await polled(feed, 2)
    assert not waiting.done()

    feed.is_set_up.set()

    async with deadline():
        assert await waiting is cast("Feed", feed)
    await ended(running)


async def test_a_pass_does_not_wait_for_long(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "SET_UP_TIMEOUT", 0.01)
    running = loop(feed := FakeFeed())
    running.start()

    async with deadline():
        assert await running.set_up() is cast("Feed", feed)
    await ended(running)


async def test_a_gap_is_reported() -> None:
    gaps: list[int] = []
    feed = FakeFeed(awaits_pass=True)
    running = loop(feed, gaps=gaps)
    running.start()
    await polled(feed, 2)
    await ended(running)

    assert gaps


@pytest.mark.parametrize("rps", [(100, 0), (0, 100), (1000, 100)])
async def test_a_limit_that_is_too_low_for_the_interval_is_logged_once(
    rps: tuple[float, ...],
) -> None:
    feed = FakeFeed(namespaces=[FakeNamespace("a"), FakeNamespace("b")])
    running = loop(feed, interval=timedelta(milliseconds=10), rps=rps)
    with capture_logs() as lines:
        running.start()
        await polled(feed, 3)
        await ended(running)

    assert [(line["event"], line["lists"]) for line in lines] == [("feed_stretched", 10)]


async def test_targets_that_share_a_limit_are_counted() -> None:
    running = loop(FakeFeed(namespaces=[FakeNamespace("a")]), rps=(100,), sharers=3)
    with capture_logs() as lines:
        running.start()
        await polled(cast("FakeFeed", running.feed), 1)
        await ended(running)

    assert [line["lists"] for line in lines] == [15]
