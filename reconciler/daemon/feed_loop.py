"""Polls the feed while the lease is held, beside the passes of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta

import structlog

from reconciler.core.errors import Unusable
from reconciler.core.feed.slow_poll import find_slow_poll
from reconciler.daemon.feed_gauges import feed_gauges, why_not_followed
from reconciler.host.cancellation import is_cancelled
from reconciler.host.causes import Causes
from reconciler.host.steady_clock import steady
from reconciler.passes.feed.feed import Feed
from reconciler.web.metrics.feed import FeedGauges

#: Seconds that a pass waits for the feed to take its marks, or to fail.
SET_UP_TIMEOUT = 20.0

log = structlog.get_logger(__name__)


class FeedLoop:
    """One feed at a time: a new one from each time that the lease is acquired."""

    def __init__(
        self,
        make: Callable[[], Feed],
        interval: timedelta,
        limits: Mapping[str, float],
        on_gap: Callable[[], None],
        on_crash: Callable[[], None],
        on_failed: Callable[[str], None],
        sharers: int = 1,
    ) -> None:
        """`interval`: between the starts of polls; zero: no feed.

        `limits`: see `find_slow_poll`; `sharers`: how many targets poll under them. `on_gap` is
        called when a pass over every row is needed, `on_crash` when a bug has ended a poll,
        `on_failed` after each poll that shows why the feed cannot be followed.
        """
        self._make, self._interval = make, interval.total_seconds()
        self._on_gap, self._on_crash, self._on_failed = on_gap, on_crash, on_failed
        self._limits, self._sharers, self._stretched = limits, sharers, False
        self._task: asyncio.Task[None] | None = None
        self._failures = Causes(lines=1)
        #: None while it is not followed.
        self.feed: Feed | None = None
        #: Why the last poll of it has failed.
        self._error: str | None = None

    def start(self) -> None:
        """Follow the feed; the polls of an earlier one have to end first."""
        if self._interval and self.feed is None:
            self.feed, self._error = self._make(), None
            self._task = asyncio.create_task(self._run(self.feed, self._task))

    def stop(self) -> None:
        """Stop following; a pass under way writes what it has decided, see `wait`."""
        if self.feed is not None and self._task is not None:
            self.feed.is_stopping, self.feed = True, None
            self._task.cancel()  # once: a second time would give up the write

    async def set_up(self) -> Feed | None:
        """The feed, once it is known from where it is followed."""
        if (feed := self.feed) is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(SET_UP_TIMEOUT):
                    await feed.is_set_up.wait()
        return self.feed

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The polls, which may still be ending."""
        return self._task

    @property
    def why_failing(self) -> str | None:
        """Why it cannot be followed at the moment; None if it can, or need not be."""
        if self.feed is None:
            return None
        return self._error or why_not_followed(self.feed)

    def gauges(self) -> FeedGauges:
        """Its state, for metrics."""
        return feed_gauges(self.feed, timedelta(seconds=self._interval))

    async def _run(self, feed: Feed, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await asyncio.wait({earlier})
        while not feed.is_stopping:  # a pass may absorb the cancellation
            began = steady()
            await self._poll(feed)
            if why := self.why_failing:
                self._on_failed(why)
            self._note_stretch(feed)
            if feed.awaits_pass and not feed.is_stopping:
                self._on_gap()
            await asyncio.sleep(max(self._interval - (steady() - began), 0))

    async def _poll(self, feed: Feed) -> None:
        try:
            await feed.poll()
        except Unusable as error:
            self._error = str(error)
            if self._failures.is_news(self._error):
                log.warning("feed_failed", error=str(error), hint="nothing is lost: polled again")
        except (Exception, asyncio.CancelledError) as error:
            # Where nobody asked it to end, a cancellation is a bug of what was called.
            if isinstance(error, asyncio.CancelledError) and (feed.is_stopping or is_cancelled()):
                raise
            self._error = f"internal error: {error!r}"
            self._on_crash()
            if self._failures.is_news(repr(error)):
                log.exception("feed_crashed", hint="this is a bug, please report it")
        else:
            self._error = None
            if not any(each.failure for each in feed.namespaces):  # one may wait after a failure
                self._failures.end_round()

    def _note_stretch(self, feed: Feed) -> None:
        """Log once if polls cannot be as frequent as they should."""
        interval = timedelta(seconds=self._interval)
        # Each of the targets that share a limit lists for itself.
        slow = find_slow_poll(len(feed.namespaces) * self._sharers, interval, self._limits)
        if slow and not self._stretched:
            seconds = round(slow.takes.total_seconds(), 1)
            log.warning("feed_stretched", hint=slow.fix, lists=slow.lists, seconds=seconds)
        self._stretched = slow is not None
