"""The feed: looks up, among the running rows, what visibility says has closed.

```
every FEED_INTERVAL, for each namespace
    list closings of each status ──► new ones, and those whose time has come
                                          │ look up by workflow id, among running rows
                                          ▼
                      rows ──► a pass over them: describe, decide, write
```

A list is never evidence, and what it does not show may still have closed: rows that the feed does
not find are the sweep's. A poll without news makes one call per status, and no query.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from reconciler.core.errors import Unusable
from reconciler.core.feed.closing import Closing
from reconciler.core.feed.ended import Ended
from reconciler.core.feed.ports import Closings, Marks
from reconciler.core.model import RunRow, Verdict
from reconciler.core.observer import Observer, PassView
from reconciler.core.policy import Policy
from reconciler.core.report.pass_report import PassOutcome
from reconciler.core.report.request import SCAN
from reconciler.passes.feed.endings import Endings
from reconciler.passes.feed.hits import Hit, find_hits
from reconciler.passes.feed.namespace import NamespaceFeed
from reconciler.passes.feed.surroundings import Surroundings

#: How often marks are saved while rows are found; besides, after each pass of the loop.
SAVE_EVERY = timedelta(seconds=10)
#: Marks that were saved longer ago are not followed: a pass over every row costs less.
OLDEST_MARKS = timedelta(hours=1)
#: Closings that are looked up at the same time, in each namespace.
AT_ONCE = 2_000
#: How long a namespace that cannot be described is tried, and how long it is then left alone.
TRIED_FOR, UNUSABLE_FOR = timedelta(minutes=2), timedelta(minutes=10)

log = structlog.get_logger(__name__)


class Feed(Observer):
    """Follows the closings in every namespace that rows name.

    Also an observer of the loop's other passes: it learns from them which namespaces there are, and
    when every row has been looked at.
    """

    def __init__(
        self,
        closings: Closings,
        marks: Marks,
        outside: Surroundings,
        clock: Callable[[], datetime],
        policy: Policy,
    ) -> None:
        """`clock`: never set, unlike that of rows."""
        self._closings, self._marks, self._outside = closings, marks, outside
        self._clock, self._own, self._policy = clock, policy.namespace, policy
        self._followed: dict[str, NamespaceFeed] = {}
        #: When namespaces were met that are not followed yet.
        self._met: dict[str, datetime] = {policy.namespace: clock()}
        self._remembers = False
        self._left_alone_until: dict[str, datetime] = {}
        self._saved_at = clock()
        self._pass_began: datetime | None = None
        #: Set when it is to end, as a pass under way may absorb the cancellation at its end.
        self.is_stopping = False
        #: Set after the first poll: marks are taken, or it has failed.
        self.is_set_up = asyncio.Event()

    @property
    def namespaces(self) -> Sequence[NamespaceFeed]:
        """Those that are followed."""
        return list(self._followed.values())

    @property
    def covers_every_row(self) -> bool:
        """Whether passes may leave to the feed what has closed: no namespace is cold or off."""
        return self._own in self._followed and all(each.is_warm for each in self.namespaces)

    @property
    def awaits_pass(self) -> bool:
        """Whether a pass over every row is needed, and has not begun yet."""
        began = self._pass_began
        gaps = (each.gap_at for each in self.namespaces)
        return any(at is not None and (began is None or at > began) for at in gaps)

    async def poll(self) -> None:
        """List what has closed, and reconcile the rows that are found.

        Raises `Unusable` if the database cannot be used, or, at the end, if a list could not be.
        """
        now = self._clock()
        try:
            await self._follow(now)
            due = [each for each in self.namespaces if each.is_due(now)]
            await self._list_and_reconcile(due, now)
        except BaseException:
            for each in self.namespaces:
                each.interrupted(now)
            raise
        finally:
            self.is_set_up.set()
        if failures := [each.failure for each in due if each.failure]:
            raise Unusable(failures[0])

    async def _follow(self, now: datetime) -> None:
        """Follow the namespaces that were met. One that was created again has another id."""
        if not self._remembers:
            self._meet(await self._marks.namespaces())
            self._remembers = True
        for name in {*self._followed, *self._met}:
            facts, met_at = await self._outside.describe(name), self._met.pop(name, now)
            if facts is None:  # such as one that was deleted, or does not answer for a moment
                self._followed.pop(name, None)
                if now - met_at < TRIED_FOR:
                    self._met[name] = met_at
                else:
                    self._left_alone_until[name] = now + UNUSABLE_FOR
            elif name not in self._followed or self._followed[name].id != facts.id:
                self._followed[name] = NamespaceFeed(
                    name,
                    facts.id,
                    self._closings,
                    self._marks,
                    self._policy.grace,
                    min(OLDEST_MARKS, facts.retention / 2),
                    self._clock,
                    met_at,
                )

    async def _list_and_reconcile(self, due: Sequence[NamespaceFeed], now: datetime) -> None:
        """Reconcile as soon as a list has news: with a low limit, all lists take a while."""
        news = asyncio.Event()
        listing = [asyncio.ensure_future(each.poll(now, news)) for each in due]
        try:
            waiting = set(listing)
            news.set()  # or closings whose time has come would wait for one that does not answer
            while waiting or news.is_set():
                arriving = asyncio.ensure_future(news.wait())
                await asyncio.wait({*waiting, arriving}, return_when=asyncio.FIRST_COMPLETED)
                arriving.cancel()
                news.clear()
                await self._reconcile_due()
                waiting = {each for each in waiting if not each.done()}
        finally:
            for each in listing:
                each.cancel()
        await asyncio.gather(*listing)

    async def _reconcile_due(self) -> None:
        """Look up the closings whose time has come, and run passes over the rows found."""
        now = self._clock()
        due = {each.name: each.book.due(now) for each in self.namespaces if each.book}
        for start in range(0, max(map(len, due.values()), default=0), AT_ONCE):
            piece = {name: each[start : start + AT_ONCE] for name, each in due.items()}
            try:
                if hits := await self._look_up(piece, self._clock()):
                    await self._reconcile(hits)
            except Exception as error:
                if not isinstance(error, Unusable):
                    self._put_off(piece)
                raise

    def _put_off(self, due: Mapping[str, Sequence[Closing]]) -> None:
        """After a bug: what one closing leads to must not end each poll, and hold the marks."""
        now = self._clock()
        for name, closings in due.items():
            if book := self._followed[name].book:
                book.looked_up(closings, closings, now)
                for each in closings:
                    book.settled(each, Ended.TRY_AGAIN, now)

    async def _look_up(self, due: Mapping[str, Sequence[Closing]], now: datetime) -> Sequence[Hit]:
        ids = {closing.workflow_id for closings in due.values() for closing in closings}
        if not ids:
            return []
        rows: defaultdict[tuple[str, str], list[RunRow]] = defaultdict(list)
        for row in await self._outside.look_up(list(ids)):
            rows[row.namespace or self._own, row.workflow_id].append(row)
        hits: list[Hit] = []
        for name, closings in due.items():
            of = {
                workflow_id: found for (where, workflow_id), found in rows.items() if where == name
            }
            if book := self._followed[name].book:
                hits += find_hits(book, closings, of, now)
        rows_now = self._outside.now()
        return [hit for hit in hits if not hit.put_off(self._policy, rows_now, now)]

    async def _reconcile(self, hits: Sequence[Hit]) -> None:
        # Closings of the same workflow id share their rows.
        rows = {id(row): row for hit in hits for row in hit.rows}
        endings = Endings(self._policy.grace)
        report = await self._outside.reconcile(list(rows.values()), endings)
        now = self._clock()
        for hit in hits:
            if (ended := endings.of(hit.rows, now)) is not None:
                hit.book.settled(hit.closing, ended, now)
        if report.stopped or self.is_stopping:
            raise asyncio.CancelledError
        if report.error is not None:
            raise Unusable(report.error)
        if now - self._saved_at >= SAVE_EVERY:
            await self.save()

    async def save(self) -> None:
        """Save how far the feed has come. Raises `Unusable`."""
        self._saved_at = self._clock()
        for each in self.namespaces:
            await each.save()

    async def on_start(self, report: PassView) -> None:
        """A pass of the loop begins; only one over every row makes up for a gap."""
        if report.request.found_by == SCAN:
            self._pass_began = self._clock()

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:  # noqa: ARG002
        """Rows name the namespaces to follow."""
        self._meet({verdict.row.namespace for verdict in verdicts})

    async def on_pass(self, report: PassView) -> None:
        """A pass over every row makes cold feeds warm; after any, save how far they have come."""
        is_good = report.outcome is not PassOutcome.ABORTED
        if is_good and report.request.found_by == SCAN and self._pass_began is not None:
            for each in self.namespaces:
                each.warm_up(self._pass_began)
        try:
            self._meet(await self._outside.newest_namespaces())
            await self.save()
        except Unusable as error:  # the pass itself was good; a restart looks at more closings
            log.debug("marks_not_saved", error=str(error))

    def _meet(self, names: Iterable[str | None]) -> None:
        now = self._clock()
        for name in names:
            if name and name not in self._followed and now >= self._left_alone_until.get(name, now):
                self._met.setdefault(name, now)
