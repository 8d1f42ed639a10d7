"""What the tests of the pass are made with: rows, answers, a pass over fakes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from reconciler.core.model import Observation, RunRow
from reconciler.core.options import PassOptions
from reconciler.core.ports import Observer, Probe, Store
from reconciler.core.report import PassReport
from reconciler.core.verdict import MissingPolicy, Policy
from reconciler.passes.log import PassLog
from reconciler.passes.reconcile import run_pass
from tests.support.factories import NOW, policy, row
from tests.support.fakes import Answer, ScriptedProbe

#: Rows that Temporal does not know are to be failed.
FAIL = policy(missing=MissingPolicy.FAIL)


def rows(count: int) -> list[RunRow]:
    return [row(number) for number in range(1, count + 1)]


async def reconcile(
    store: Store,
    probe: Probe,
    rules: Policy | None = None,
    *,
    observers: Sequence[Observer] = (),
    pass_log: PassLog | None = None,
    report: PassReport | None = None,
    **options: Any,
) -> PassReport:
    given = PassOptions(**options)
    return await run_pass(store, probe, observers, rules or policy(), given, NOW, pass_log, report)


def scripted(default: Observation, **answers: Answer) -> ScriptedProbe:
    named = {name.replace("_", "-"): answer for name, answer in answers.items()}
    return ScriptedProbe(named, default)


def in_turn(*answers: Observation) -> Callable[[RunRow], Observation]:
    """One answer at the first look, another at the second."""
    left = iter(answers)
    return lambda _: next(left)


def accounted_for(report: PassReport) -> int:
    """Each row that was looked at was written, left, or lost to somebody else: nothing twice."""
    return report.changed + report.left.total() + report.lost_races


class Slow(ScriptedProbe):
    """Answers the first rows, and never the others."""

    def __init__(self, answers: int, observation: Observation) -> None:
        super().__init__({})
        self.answers_left, self.observation = answers, observation
        self.hanging = asyncio.Event()

    async def observe(self, asked_row: RunRow) -> Observation:
        if not self.answers_left:
            self.hanging.set()
            await asyncio.Event().wait()
        self.answers_left -= 1
        return self.observation
