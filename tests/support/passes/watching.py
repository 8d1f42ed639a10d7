"""Fakes of what watching for stuck rows needs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.core.errors import Unusable
from reconciler.core.model import RowId, RunRow
from reconciler.core.stuck.condition import (
    Condition,
    Diagnosis,
    Outdated,
    Reason,
    Recorded,
    RowAtRisk,
    StuckRow,
)


def condition(reason: Reason = Reason.PAUSED, since: datetime | None = None) -> Condition:
    return Condition(reason, f"{reason} by ops", since, "by ops")


@dataclass
class FakeDiagnosing:
    """Says of each workflow the condition that is its evidence, or that what was is outdated."""

    asked: list[list[RowId]] = field(default_factory=list)
    passes: int = 0
    error: Unusable | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def start_pass(self) -> None:
        self.passes += 1

    async def diagnose(
        self,
        described: Sequence[tuple[RunRow, object]],
        now: datetime,
        known: Mapping[RowId, StuckRow],
    ) -> Sequence[Diagnosis | Outdated | None]:
        self.asked.append([row.id for row, _ in described])
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [
            Diagnosis(found, "run-last", "Order")
            if isinstance(found, Condition)
            else found
            if isinstance(found, Outdated)
            else None
            for _, found in described
        ]


@dataclass
class FakeStuckRows:
    """Entries in memory. `ended` are no longer running; `error` is what every call raises."""

    entries: dict[RowId, StuckRow | RowAtRisk] = field(default_factory=dict)
    ended: set[RowId] = field(default_factory=set)
    error: Exception | None = None
    calls: Counter[str] = field(default_factory=Counter)

    def _call(self, name: str) -> None:
        self.calls[name] += 1
        if self.error is not None:
            raise self.error

    async def is_empty(self) -> bool:
        self._call("is_empty")
        return not self.entries

    async def known(self, ids: Sequence[RowId]) -> Recorded:
        self._call("known")
        found = {each: self.entries[each] for each in ids if each in self.entries}
        stuck = {k: v for k, v in found.items() if isinstance(v, StuckRow)}
        return Recorded(stuck, {k: v for k, v in found.items() if isinstance(v, RowAtRisk)})

    async def record(
        self, stuck: Sequence[StuckRow], at_risk: Sequence[RowAtRisk], fine: Sequence[RowId]
    ) -> None:
        self._call("record")
        self.entries.update({each.row_id: each for each in stuck})
        self.entries.update({each.row_id: each for each in at_risk})
        for each in fine:
            self.entries.pop(each, None)

    async def forget_ended(self) -> None:
        self._call("forget_ended")
        for each in self.ended:
            self.entries.pop(each, None)

    async def counts(self) -> Mapping[Reason, tuple[int, datetime]]:
        self._call("counts")
        stuck = [each for each in self.entries.values() if isinstance(each, StuckRow)]
        reasons = {each.reason for each in stuck}
        of = {r: [each.since for each in stuck if each.reason is r] for r in reasons}
        return {reason: (len(times), min(times)) for reason, times in of.items()}
