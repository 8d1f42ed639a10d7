"""Verdicts on rows, including what needs the table: other rows with the same workflow id."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from reconciler.core.model import Closed, Observation, RunRow, Unknown, Verdict
from reconciler.core.ports import Ending, Store
from reconciler.core.verdict import Policy, decide, needs_rivals


async def judge(
    store: Store,
    observed: Sequence[tuple[RunRow, Observation]],
    policy: Policy,
    now: datetime,
) -> list[Verdict]:
    """A verdict on each row, in their order. Raises `Unusable`.

    The table is only asked about rows without a run id that would be finished. Temporal was asked
    first, and by then both the row and its run are older than the grace period: no row that could
    be a rival is inserted any more.
    """
    verdicts = [decide(row, observation, policy, now) for row, observation in observed]
    endings = {
        index: Ending(row, found.start, found.run_id)
        for index, (verdict, (row, found)) in enumerate(zip(verdicts, observed, strict=True))
        if needs_rivals(verdict) and isinstance(found, Closed) and found.start is not None
    }
    if endings:
        answer = await store.rivals(list(endings.values()))
        for number, index in enumerate(endings):
            rivals = answer if isinstance(answer, Unknown) else answer[number]
            verdicts[index] = decide(*observed[index], policy, now, rivals)
    return verdicts
