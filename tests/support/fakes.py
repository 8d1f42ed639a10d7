"""Fakes of the ports for unit tests of the pass; small, as the ports are."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from reconciler.core.feed.saved_marks import SavedMarks
from reconciler.core.model import (
    CloseStatus,
    Missing,
    Observation,
    Outcome,
    Rival,
    RowId,
    RunRow,
    Unasked,
    Unknown,
    Use,
)
from reconciler.core.observer import Observer, PassView
from reconciler.core.ports import Ending, Heartbeat, Observing, Reach, Written
from reconciler.core.report.pass_report import PassReport, Report
from reconciler.core.report.request import PassRequest
from reconciler.core.report.sweep import Rest, Swept
from tests.support.factories import NOW, RETENTION


class MemoryStore:
    """A table of running rows; `finished` has the outcomes written, `refused` why a row is not."""

    def __init__(self, rows: Iterable[RunRow] = ()) -> None:
        self.running = {row.id: row for row in rows}
        self.finished: dict[RowId, Outcome] = {}
        self.refused: dict[RowId, str] = {}
        self.pages = 0
        self.looked_for_rivals: list[list[RowId]] = []

    async def last_running(self) -> RowId | None:
        return max(self.running, default=None)

    async def scan_running(self, after: RowId | None, until: RowId, limit: int) -> Sequence[RunRow]:
        await asyncio.sleep(0)
        self.pages += 1
        return self._between(after, until)[:limit]

    def _between(self, after: Any, until: Any) -> list[RunRow]:
        ids: list[Any] = sorted(self.running)
        return [self.running[i] for i in ids if (after is None or i > after) and i <= until]

    async def reach(self, after: RowId | None, until: RowId, rows: int) -> Reach:
        reached = self._between(after, until)[:rows]
        return Reach(len(reached), reached[-1].id if reached else None)

    async def read_rest(self, recorded: Rest) -> Rest | None:
        return recorded

    async def rivals(self, endings: Sequence[Ending]) -> Sequence[Sequence[Rival]] | Unknown:
        await asyncio.sleep(0)
        self.looked_for_rivals.append([ending.row.id for ending in endings])
        rows = [Rival(row) for row in self.running.values()]
        rows += [Rival(o.row, o.completed_at) for o in self.finished.values()]
        return [
            [r for r in rows if r.row.id != row.id and r.row.workflow_id == row.workflow_id]
            for row in (ending.row for ending in endings)
        ]

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        await asyncio.sleep(0)
        written = set()
        for outcome in outcomes:
            row = self.running.get(outcome.row.id)
            if row is None or row.id in self.refused:
                continue
            if (row.workflow_id, row.run_id) != (outcome.row.workflow_id, outcome.row.run_id):
                continue
            del self.running[row.id]
            self.finished[row.id] = outcome
            written.add(row.id)
        asked = {outcome.row.id for outcome in outcomes}
        return Written(
            frozenset(written), {i: why for i, why in self.refused.items() if i in asked}
        )


Answer = Observation | Exception | Callable[[RunRow], Observation]


@dataclass
class ScriptedProbe:
    """Answers by workflow id; records what it was asked, and the most calls at a time."""

    answers: Mapping[str, Answer]
    default: Observation = field(default_factory=Missing)
    asked: list[str] = field(default_factory=list)
    visible: Mapping[str, bool | None] = field(default_factory=dict)
    screened: list[str] = field(default_factory=list)
    uses: Mapping[str, Sequence[Use] | Unknown] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0

    async def observe(self, row: RunRow) -> Observation:
        if not row.workflow_id and row.unreadable is None:
            return Unasked()
        self.asked.append(row.workflow_id)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await asyncio.sleep(0)
        self._now -= 1
        answer = self.answers.get(row.workflow_id, self.default)
        if isinstance(answer, Exception):
            raise answer
        return answer(row) if callable(answer) else answer

    def together(self, rows: Sequence[RunRow]) -> Observing:
        return self

    async def screen(self, rows: Sequence[RunRow], saving: float = 1.0) -> Sequence[bool | None]:
        await asyncio.sleep(0)
        self.screened += [row.workflow_id for row in rows]
        return [self.visible.get(row.workflow_id) for row in rows]

    async def other_uses(self, endings: Sequence[Ending]) -> Sequence[Sequence[Use] | Unknown]:
        await asyncio.sleep(0)
        self.listed += [ending.row.workflow_id for ending in endings]
        return [self.uses.get(ending.row.workflow_id, ()) for ending in endings]

    async def retention(self) -> timedelta:
        return RETENTION

    def namespace_id(self, row: RunRow) -> str:
        return f"id of {row.namespace or 'ns'}"

    def rpcs(self) -> Mapping[str, int]:
        return Counter(describe=len(self.asked))


@dataclass
class FakeHistory:
    """Records the passes that begin and end, and counts checkpoints; has nothing to resume."""

    swept: Swept | None = None
    begun: list[Report] = field(default_factory=list)
    checkpoints: int = 0
    ended: list[Report] = field(default_factory=list)
    journal: Mapping[str, int] | None = None
    #: The namespaces in which earlier passes found workflows; None: in all.
    found: frozenset[str] | None = None

    async def begin(self, report: Report) -> Swept | None:
        self.begun.append(report)
        return self.swept

    async def found_in(self, namespaces: Collection[str]) -> Collection[str]:
        return namespaces if self.found is None else self.found.intersection(namespaces)

    async def checkpoint(self, report: PassReport) -> None:
        self.checkpoints += 1

    async def written(self, pass_id: str) -> Mapping[str, int] | None:
        return self.journal

    async def end(self, report: Report) -> None:
        self.ended.append(report)

    async def heartbeat(self) -> Heartbeat | None:
        return None

    async def unfinished(self, request: PassRequest, read_id: Any) -> PassReport | None:
        return None

    async def resume(self, request: PassRequest, read_id: Any) -> PassReport | None:
        return None

    async def give_up(self, request: PassRequest) -> None:
        pass


@dataclass
class FakeMarks:
    """Marks by namespace id; `saves` has all that were saved, `now` is the database's clock."""

    saved: dict[str, SavedMarks] = field(default_factory=dict)
    saves: list[Mapping[CloseStatus, datetime]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    now: datetime = NOW

    async def namespaces(self) -> Collection[str]:
        return self.names

    async def load(self, namespace_id: str) -> SavedMarks | None:
        found = self.saved.get(namespace_id)
        if found is None or not found.marks:
            return None
        return SavedMarks(found.marks, found.saved_at, self.now)

    async def save(
        self, namespace_id: str, name: str, marks: Mapping[CloseStatus, datetime]
    ) -> None:
        self.saves.append(dict(marks))
        self.names.add(name)
        self.saved[namespace_id] = SavedMarks(dict(marks), self.now, self.now)


@dataclass
class Recorder(Observer):
    """An observer that records what it receives."""

    started: list[PassView] = field(default_factory=list)
    written: list[Outcome] = field(default_factory=list)
    ended: list[PassView] = field(default_factory=list)

    async def on_start(self, report: PassView) -> None:
        self.started.append(report)

    async def on_written(self, report: PassView, outcomes: Sequence[Outcome]) -> None:
        self.written += outcomes

    async def on_pass(self, report: PassView) -> None:
        self.ended.append(report)
