"""Rows, answers, and a pass over fakes, for the tests of the pass."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reconciler.core.model import Observation, RunRow
from reconciler.core.observer import Observer
from reconciler.core.policy import MissingPolicy, Policy
from reconciler.core.ports import History, Probe, Store
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassOptions, PassRequest
from reconciler.passes.log import PassLog
from reconciler.passes.reconcile import run_pass
from reconciler.postgres.journal.checkpoint import restore, to_json
from tests.support.factories import NOW, policy, row
from tests.support.fakes import Answer, FakeHistory, ScriptedProbe

#: The policy that fails rows that Temporal does not know.
FAIL = policy(missing=MissingPolicy.FAIL)


def rows(count: int) -> list[RunRow]:
    return [row(number) for number in range(1, count + 1)]


async def reconcile(
    store: Store,
    probe: Probe,
    rules: Policy | None = None,
    *,
    history: History | None = None,
    observers: Sequence[Observer] = (),
    pass_log: PassLog | None = None,
    report: PassReport | None = None,
    mode: str = "once",
    dry_run: bool = False,
    **options: Any,
) -> PassReport:
    return await run_pass(
        store,
        probe,
        history or FakeHistory(),
        observers,
        rules or policy(),
        PassOptions(**options),
        NOW,
        report or PassReport.begin(PassRequest(mode, dry_run), NOW),
        pass_log,
    )


def resumable() -> PassReport:
    """The report of a pass that is checkpointed after each page."""
    return PassReport.begin(PassRequest("backfill", asked={}), NOW)


def recorded(report: PassReport) -> str:
    """What another process finds recorded about a pass."""
    assert report.progress is not None
    cursor = to_json(report.progress, report.done)
    return json.dumps({"pass_id": report.pass_id, "cursor": cursor})


def resumed(record: str, written: Mapping[str, int]) -> PassReport:
    """The report that it resumes, given what the journal says was written."""
    found = json.loads(record)
    request = PassRequest("backfill", asked={})
    report = PassReport(found["pass_id"], request, NOW, resumed=True)
    restore(report, found["cursor"], int)
    report.correct(written)
    return report


def scripted(default: Observation, **answers: Answer) -> ScriptedProbe:
    named = {name.replace("_", "-"): answer for name, answer in answers.items()}
    return ScriptedProbe(named, default)


def in_turn(*answers: Observation) -> Callable[[RunRow], Observation]:
    """Give these answers one after another."""
    left = iter(answers)
    return lambda _: next(left)


def accounted_for(report: PassReport) -> int:
    """Rows that were written, left or lost; each scanned row counts once."""
    return report.tally.ends


class Slow(ScriptedProbe):
    """Answers for the first N rows, and hangs for the others."""

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
