"""`reconciler explain`: a row, what Temporal says about it, and what a pass would do."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reconciler.app.app import App
from reconciler.core.model import Closed, Observation, Verdict
from reconciler.passes.judging import judge
from reconciler.postgres.journal.entries import StoredChange
from reconciler.postgres.rows.lookup.stored import StoredRow, find_rows


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


async def explain(app: App, workflow_id: str) -> list[Explanation]:
    """Every row of this workflow id, whatever its status. Writes nothing."""
    now = await app.clock.read()
    rows = await find_rows(app.engine, app.table, workflow_id)
    changes, no_journal = await app.books.last_changes(app.table, workflow_id)
    asking = app.probe.together([each.row for each in rows])
    observed = [(each.row, await asking.observe(each.row)) for each in rows]
    verdicts = await judge(app.store(), app.probe, observed, app.policy, now)
    return [
        Explanation(
            stored=replace(stored, error_message=await app.redacted(stored.error_message)),
            observation=_as_written(app, observation),
            verdict=verdict,
            change=changes.get(str(stored.row.id)),
            no_journal=no_journal,
        )
        for stored, (_, observation), verdict in zip(rows, observed, verdicts, strict=True)
    ]


async def observe_id(app: App, workflow_id: str) -> Observation:
    """What Temporal says about the current run of a workflow id, without a row."""
    return _as_written(app, await app.probe.observe_current(workflow_id))


def _as_written(app: App, observation: Observation) -> Observation:
    """The observation with the failure message that a pass would write."""
    if isinstance(observation, Closed) and observation.failure is not None:
        return replace(observation, failure=app.policy.message(observation.failure))
    return observation
