"""A feed over fakes: closings that a test adds, and rows in memory."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from reconciler.core.errors import ReconcilerError
from reconciler.core.feed.closing import Closing, Listed, Listing
from reconciler.core.model import CloseStatus, Finish, Leave, LeaveReason, RunRow, Verdict
from reconciler.core.observer import Observer
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.passes.feed.feed import Feed
from reconciler.passes.feed.surroundings import NamespaceFacts
from tests.support.factories import NOW, outcome, policy
from tests.support.fakes import FakeMarks

GRACE = timedelta(seconds=60)


@dataclass
class FakeClosings:
    """Closings by namespace and status; `errors` by namespace; `hangs` until the event is set."""

    closed: dict[tuple[str, CloseStatus], list[Closing]] = field(
        default_factory=lambda: defaultdict(list)
    )
    errors: dict[str, ReconcilerError] = field(default_factory=dict)
    hangs: dict[CloseStatus, asyncio.Event] = field(default_factory=dict)
    asked: list[tuple[str, CloseStatus]] = field(default_factory=list)

    async def read(self, namespace: str, status: CloseStatus, asked: Listing) -> Listed:
        self.asked.append((namespace, status))
        if event := self.hangs.get(status):
            await event.wait()
        if error := self.errors.get(namespace):
            raise error
        found = sorted(self.closed[namespace, status], key=lambda each: each.closed_at)[::-1]
        floor = asked.floor
        found = [each for each in found if floor is None or each.closed_at >= floor]
        most = asked.size * asked.pages
        return Listed(found[:most], complete=len(found) <= most)


@dataclass
class FakeSurroundings:
    """Rows in memory; `verdicts` by row id, by default the row is finished."""

    rows: list[RunRow] = field(default_factory=list)
    verdicts: dict[object, Verdict] = field(default_factory=dict)
    #: The error of coming passes, or of look-ups.
    error: str | None = None
    unreadable: ReconcilerError | None = None
    stops: bool = False
    looked_up: list[list[str]] = field(default_factory=list)
    reconciled: list[list[RunRow]] = field(default_factory=list)
    described: list[str] = field(default_factory=list)
    unknown_namespaces: set[str] = field(default_factory=set)
    ids: dict[str, str] = field(default_factory=dict)
    newest: set[str] = field(default_factory=set)
    clock: Callable[[], datetime] = lambda: NOW
    bug: Exception | None = None

    def now(self) -> datetime:
        return self.clock()

    async def describe(self, namespace: str) -> NamespaceFacts | None:
        self.described.append(namespace)
        if namespace in self.unknown_namespaces:
            return None
        return NamespaceFacts(self.ids.get(namespace, f"id of {namespace}"), timedelta(days=1))

    async def newest_namespaces(self) -> Collection[str]:
        return self.newest

    async def look_up(self, workflow_ids: Sequence[str]) -> Sequence[RunRow]:
        self.looked_up.append(sorted(workflow_ids))
        if self.unreadable:
            raise self.unreadable
        return [row for row in self.rows if row.workflow_id in workflow_ids]

    async def reconcile(self, rows: Sequence[RunRow], observer: Observer) -> PassReport:
        self.reconciled.append(list(rows))
        if self.bug:
            raise self.bug
        report = PassReport.begin(PassRequest("feed"), NOW)
        if self.stops:
            report.stop()
        if self.error or self.stops:
            report.error = report.error or self.error
            return report
        verdicts = [self.verdicts.get(row.id) or Finish(outcome(row)) for row in rows]
        written = [each.outcome for each in verdicts if isinstance(each, Finish)]
        await observer.on_written(report, written)
        await observer.on_page(report, verdicts)
        for each in written:
            self.rows.remove(each.row)
        return report


class FeedBench:
    """A feed, and everything around it; `now` is its clock."""

    def __init__(self) -> None:
        self.now = NOW
        self.closings, self.marks, self.outside = FakeClosings(), FakeMarks(), FakeSurroundings()
        self.outside.clock = lambda: self.now
        self.feed = self.restarted()

    def restarted(self) -> Feed:
        """A feed that knows only what was saved."""
        self.feed = Feed(
            self.closings,
            self.marks,
            self.outside,
            lambda: self.now,
            policy(grace=GRACE, namespace="default"),
        )
        return self.feed

    def close(
        self,
        workflow_id: str,
        status: CloseStatus = CloseStatus.TERMINATED,
        namespace: str = "default",
    ) -> None:
        """A workflow closes now."""
        run_id = f"run {len(self.closings.closed[namespace, status])} of {workflow_id}"
        closing = Closing(workflow_id, run_id, self.now)
        self.closings.closed[namespace, status].append(closing)

    async def poll(self, after: float = 5) -> None:
        self.now += timedelta(seconds=after)
        self.marks.now = self.now
        await self.feed.poll()

    async def whole_pass(self, *verdicts: Verdict, error: str | None = None) -> None:
        """A pass of the loop over every row, as the feed observes it."""
        report = PassReport.begin(PassRequest("run", found_by="scan"), self.now)
        await self.feed.on_start(report)
        await self.feed.on_page(report, verdicts)
        report.error = error
        await self.feed.on_pass(report)

    async def warm(self) -> None:
        """Poll for the first time, and look at every row."""
        await self.poll()
        self.now += timedelta(seconds=1)
        await self.whole_pass()


def left(row: RunRow, reason: LeaveReason) -> Leave:
    """The row is left."""
    return Leave(row, reason)
