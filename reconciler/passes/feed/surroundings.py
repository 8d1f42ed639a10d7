"""What the feed needs from the outside, beside the lists."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from reconciler.core.model import RunRow
from reconciler.core.observer import Observer
from reconciler.core.report.pass_report import PassReport


@dataclass(frozen=True, slots=True)
class NamespaceFacts:
    """What the feed needs to know of a namespace."""

    id: str
    retention: timedelta


class Surroundings(Protocol):
    """Namespaces, and rows of the application's table. All but `now` raise `Unusable`."""

    def now(self) -> datetime:
        """The time by which rows are judged, as last read; it may be set."""
        ...

    async def describe(self, namespace: str) -> NamespaceFacts | None:
        """What Temporal says about it, at most a minute ago; None if it cannot be used."""
        ...

    async def newest_namespaces(self) -> Collection[str]:
        """The namespaces that the newest running rows name; not those of all rows."""
        ...

    async def look_up(self, workflow_ids: Sequence[str]) -> Sequence[RunRow]:
        """The running rows of these workflow ids."""
        ...

    async def reconcile(self, rows: Sequence[RunRow], observer: Observer) -> PassReport:
        """Run a pass over rows, recorded if it writes."""
        ...
