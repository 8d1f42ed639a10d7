"""Histories of running backfills can be replayed: by this version, and by later ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from reconciler.fleet.workflow import BackfillWorkflow
from tests.support.commands.fleet import SPEED, Fleet
from tests.support.histories.storing import FLEET, read_history

#: One range per run, two pages each.
STEPS = replace(SPEED, workers=1, batch_size=5, range_rows=10, ranges_per_run=1)


async def replay(history: WorkflowHistory) -> None:
    """Raises if the history cannot be replayed."""
    await Replayer(workflows=[BackfillWorkflow]).replay_workflow(history)


async def test_each_run_of_a_backfill(fleet: Fleet) -> None:
    """To store them again: see `storing.stored`."""
    fleet.settings = {"missing": "fail"}
    await fleet.stage.insert(await fleet.stage.closed(), 15)
    await fleet.stage.insert_missing(3)
    async with fleet.worker():
        handle = await fleet.start(STEPS)
        result = await handle.result()
        assert result.report["written"]["failed"] == 18
    run_id, runs = handle.first_execution_run_id, 0
    while run_id:
        run = fleet.client.get_workflow_handle(handle.id, run_id=run_id)
        history = await run.fetch_history()
        await replay(history)
        end = history.events[-1].workflow_execution_continued_as_new_event_attributes
        run_id, runs = end.new_execution_run_id, runs + 1
    assert runs == 3, "two of the first sweep, one of the second"


@pytest.mark.parametrize("file", sorted(FLEET.glob("*.json")), ids=lambda file: file.stem)
async def test_stored_ones(file: Path) -> None:
    await replay(read_history(json.loads(file.read_text())))
