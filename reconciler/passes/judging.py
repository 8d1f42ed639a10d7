"""Verdicts on rows, with what it takes from the table: the other rows of a workflow id."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from reconciler.core.model import Closed, Observation, RunRow, Unknown, Verdict
from reconciler.core.ports import Ending, Store
from reconciler.core.verdict import Policy, decide, needs_rivals


async def judged(
    store: Store,
    observed: Sequence[tuple[RunRow, Observation]],
    policy: Policy,
    now: datetime,
) -> list[Verdict]:
    """A verdict on each row. The table is asked only if rows without a run id are to be finished.

    That comes after Temporal was asked, and such a row is older than the grace by then, as is its
    run: no row that would be a rival is created any more. Raises `Unusable`.
    """
    verdicts = [decide(row, observation, policy, now) for row, observation in observed]
    endings = {
        place: Ending(row, found.start, found.run_id)
        for place, (verdict, (row, found)) in enumerate(zip(verdicts, observed, strict=True))
        if needs_rivals(verdict) and isinstance(found, Closed) and found.start is not None
    }
    if endings:
        told = await store.rivals(list(endings.values()))
        for number, place in enumerate(endings):
            rivals = told if isinstance(told, Unknown) else told[number]
            verdicts[place] = decide(*observed[place], policy, now, rivals)
    return verdicts
