"""The end of a run that is expected to be the last of its chain."""

from __future__ import annotations

from reconciler.core.model import Observation
from reconciler.temporal.client.execution_info import is_continued
from reconciler.temporal.observe.history import BetweenRuns
from reconciler.temporal.observe.probe import TemporalProbe, as_observation


async def observe_run(probe: TemporalProbe, workflow_id: str, run_id: str) -> Observation | None:
    """What Temporal says about one run; None if another run follows it in its chain.

    One call if it is open or completed. By run id, since the workflow id may be in use again at
    once. Not for cron workflows: only its close event says that a completed run of one is not the
    last. Raises `TemporalUnusable` if the problem is not this run's.
    """
    return await as_observation(_observe(probe, workflow_id, run_id))


async def _observe(probe: TemporalProbe, workflow_id: str, run_id: str) -> Observation | None:
    run = await probe.rpc.describe(workflow_id, run_id)
    info = run.workflow_execution_info
    if run.workflow_extended_info.reset_run_id or is_continued(info):
        return None
    try:
        return await probe.observe_last(run)
    except BetweenRuns:
        return None
