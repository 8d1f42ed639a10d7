"""Verdicts on rows, including what needs more: other rows and other uses of the workflow id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from reconciler.core.model import Closed, Observation, Rival, RunRow, Unknown, Verdict
from reconciler.core.own_use import chain_of, leaves_no_time, made_earlier
from reconciler.core.policy import Policy
from reconciler.core.ports import Ending, Probe, Store
from reconciler.core.verdict import Claims, decide, needs_claims


async def judge(
    store: Store,
    probe: Probe,
    observed: Sequence[tuple[RunRow, Observation]],
    policy: Policy,
    now: datetime,
) -> list[Verdict]:
    """A verdict on each row, in their order. Raises `Unusable`.

    The table is only asked about rows without a run id that would be finished, and visibility only
    about those that no other row has a claim against. By then the row and its run are older than
    the grace period: no row that could be a rival is inserted any more.
    """
    verdicts = [decide(row, observation, policy, now) for row, observation in observed]
    rivals: dict[int, Sequence[Rival] | Unknown] = {}
    if ending := _endings(verdicts, observed):
        answer = await store.rivals(list(ending.values()))
        for number, index in enumerate(ending):
            rivals[index] = answer if isinstance(answer, Unknown) else answer[number]
            verdicts[index] = decide(*observed[index], policy, now, Claims(rivals[index]))
    asked = {
        index: ending
        for index, ending in _endings(verdicts, observed).items()
        if not leaves_no_time(made_earlier(ending.row, policy.off), ending.chain)
    }
    if asked:
        endings = [
            Ending(made_earlier(each.row, policy.off), each.chain) for each in asked.values()
        ]
        found = await probe.other_uses(endings)
        for index, uses in zip(asked, found, strict=True):
            verdicts[index] = decide(*observed[index], policy, now, Claims(rivals[index], uses))
    return verdicts


def _endings(
    verdicts: Sequence[Verdict], observed: Sequence[tuple[RunRow, Observation]]
) -> Mapping[int, Ending]:
    """The rows that would be finished by a use that may not be their own, by their place."""
    return {
        index: Ending(row, chain)
        for index, (verdict, (row, found)) in enumerate(zip(verdicts, observed, strict=True))
        if needs_claims(verdict) and isinstance(found, Closed) and (chain := chain_of(found))
    }
