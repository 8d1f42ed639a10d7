"""What finding stuck rows needs from the outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from reconciler.core.model import RowId, RunRow
from reconciler.core.stuck.condition import (
    Diagnosis,
    Outdated,
    Reason,
    Recorded,
    RowAtRisk,
    StuckRow,
)


class Diagnosing(Protocol):
    """Says why open workflows are open."""

    def start_pass(self) -> None:
        """Ask about queues, children and histories again; what may be asked is per pass."""
        ...

    async def diagnose(
        self,
        described: Sequence[tuple[RunRow, object]],
        now: datetime,
        known: Mapping[RowId, StuckRow],
    ) -> Sequence[Diagnosis | Outdated | None]:
        """Why the workflows of these rows are open, in their order; texts decoded and redacted.

        `described`: rows and the `Open.evidence` about each; `known`: what is recorded of them, so
        that what was read from a history before is not read again. None where it cannot be said in
        this pass: then what is recorded may still hold, and stays. Raises `Unusable`.
        """
        ...


class StuckRows(Protocol):
    """The record of stuck rows and rows at risk. Raises `Unusable`."""

    async def is_empty(self) -> bool:
        """Whether nothing is recorded."""
        ...

    async def known(self, ids: Sequence[RowId]) -> Recorded:
        """What is recorded of these rows."""
        ...

    async def record(
        self, stuck: Sequence[StuckRow], at_risk: Sequence[RowAtRisk], fine: Sequence[RowId]
    ) -> None:
        """Replace what is recorded of these rows; of those that are `fine`, nothing is kept."""
        ...

    async def forget_ended(self) -> None:
        """Remove what is recorded of rows that are gone or no longer running."""
        ...

    async def counts(self) -> Mapping[Reason, tuple[int, datetime]]:
        """For each reason, how many running rows are stuck, and since when the oldest is."""
        ...
