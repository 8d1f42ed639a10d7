"""`reconciler explain`: a row, what Temporal says about it, and what a pass would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.app.app import App
from reconciler.app.stuck.known import known_of
from reconciler.core.model import Closed, Observation, Open, RowId, RunRow, Verdict
from reconciler.core.stuck.condition import Condition, Diagnosis, StuckRow
from reconciler.core.stuck.record import as_stuck_row
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


async def explain(app: App, workflow_id: str, newest: int | None = None) -> list[Explanation]:
    """Every row of this workflow id, whatever its status. Writes nothing.

    `newest`: the most rows, those with the largest keys; each row is asked about.
    """
    now = await app.clock.read()
    rows = await find_rows(app.engine, app.table, workflow_id, newest)
    changes, no_journal = await app.books.last_changes(app.table, workflow_id)
    asking = app.probe.together([each.row for each in rows])
    observed = [(each.row, await asking.observe(each.row)) for each in rows]
    verdicts = await judge(app.store(), app.probe, observed, app.policy, now)
    known = await (await known_of(app))([each.row.id for each in rows])
    conditions = await conditions_of(app, observed, known)
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
    without_row = RunRow("", workflow_id, None, None)
    (condition,) = await conditions_of(app, [(without_row, observation)], {})
    return _as_written(app, observation), condition


async def conditions_of(
    app: App, observed: Sequence[tuple[RunRow, Observation]], known: Mapping[RowId, StuckRow]
) -> Sequence[Condition | None]:
    """Why the workflows of these rows are open; None for those that are not.

    `known`: what passes have recorded of the rows, such as since when. Raises `Unusable`.
    """
    described = [
        (place, row, observation.evidence)
        for place, (row, observation) in enumerate(observed)
        if isinstance(observation, Open) and observation.evidence is not None
    ]
    conditions: list[Condition | None] = [None] * len(observed)
    if not described:
        return conditions
    # Not the one of passes, which may be under way: what they may ask is limited.
    diagnosis = TemporalDiagnosis(app.rpc.apart(), app.redactor, app.decoder)
    diagnosis.start_pass()
    now = app.clock.now()
    found = await diagnosis.diagnose([(row, each) for _, row, each in described], now, known)
    for (place, row, _), each in zip(described, found, strict=True):
        if isinstance(each, Diagnosis):
            stuck = as_stuck_row(row, each, known.get(row.id), now)
            is_news = stuck.since == now
            since = each.condition.since if is_news else stuck.since
            conditions[place] = replace(each.condition, since=since)
    return conditions


def _as_written(app: App, observation: Observation) -> Observation:
    """The observation with the failure message that a pass would write."""
    if isinstance(observation, Closed) and observation.failure is not None:
        return replace(observation, failure=app.policy.message(observation.failure))
    return observation
