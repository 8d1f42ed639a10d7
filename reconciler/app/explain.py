"""`reconciler explain`: a row, what Temporal says about it, and what a pass would do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reconciler.app.app import App
from reconciler.core.model import Closed, Observation, Open, RunRow, Verdict
from reconciler.core.stuck.condition import Condition
from reconciler.passes.judging import judge
from reconciler.postgres.journal.entries import StoredChange
from reconciler.postgres.rows.lookup.stored import StoredRow, find_rows
from reconciler.temporal.stuck.diagnosis import TemporalDiagnosis


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known about one row."""

    stored: StoredRow
    observation: Observation
    verdict: Verdict
    #: The last change by a pass.
    change: StoredChange | None = None
    #: Why the last change is not known, if so.
    no_journal: str | None = None
    #: Why the workflow is open; None if it is not, or that cannot be said.
    condition: Condition | None = None


async def explain(app: App, workflow_id: str) -> list[Explanation]:
    """Every row of this workflow id, whatever its status. Writes nothing."""
    now = await app.clock.read()
    rows = await find_rows(app.engine, app.table, workflow_id)
    changes, no_journal = await app.books.last_changes(app.table, workflow_id)
    asking = app.probe.together([each.row for each in rows])
    observed = [(each.row, await asking.observe(each.row)) for each in rows]
    verdicts = await judge(app.store(), app.probe, observed, app.policy, now)
    conditions = await why_open(app, observed)
    return [
        Explanation(
            stored=replace(stored, error_message=await app.redacted(stored.error_message)),
            observation=_as_written(app, observation),
            verdict=verdict,
            change=changes.get(str(stored.row.id)),
            no_journal=no_journal,
            condition=condition,
        )
        for stored, (_, observation), verdict, condition in zip(
            rows, observed, verdicts, conditions, strict=True
        )
    ]


async def observe_id(app: App, workflow_id: str) -> tuple[Observation, Condition | None]:
    """What Temporal says about the current run of a workflow id, without a row; why it is open."""
    observation = await app.probe.observe_current(workflow_id)
    without_row = RunRow(0, workflow_id, None, None)
    (condition,) = await why_open(app, [(without_row, observation)])
    return _as_written(app, observation), condition


async def why_open(
    app: App, observed: Sequence[tuple[RunRow, Observation]]
) -> Sequence[Condition | None]:
    """Why the workflows of these rows are open; None for those that are not. Raises `Unusable`."""
    described = [
        (place, row, observation.evidence)
        for place, (row, observation) in enumerate(observed)
        if isinstance(observation, Open) and observation.evidence is not None
    ]
    evidence = [(row, each) for _, row, each in described]
    # Not the one of passes, which may be under way: what they may ask is limited.
    diagnosis = TemporalDiagnosis(app.rpc.apart(), app.redactor, app.decoder)
    diagnosis.start_pass()
    found = await diagnosis.diagnose(evidence, app.clock.now(), {}) if evidence else []
    conditions: list[Condition | None] = [None] * len(observed)
    for (place, _, _), each in zip(described, found, strict=True):
        conditions[place] = each.condition if each else None
    return conditions


def _as_written(app: App, observation: Observation) -> Observation:
    """The observation with the failure message that a pass would write."""
    if isinstance(observation, Closed) and observation.failure is not None:
        return replace(observation, failure=app.policy.message(observation.failure))
    return observation
