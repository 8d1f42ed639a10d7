"""Histories of earlier versions replay under any options of the plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from reconciler.settings import TableSettings
from reconciler.worker import ReconcilerPlugin
from tests.support.histories.storing import stored_histories
from tests.support.histories.workflows import WORKFLOWS

HISTORIES = dict(stored_histories())
#: A signal handler changed the end during the write; that never happened with the plugin.
ONLY_BY_HAND = {"held_by_hand_a_signal_that_fails", "held_by_hand_a_signal_that_starts_over"}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"only": []},
    {"only": ["Order"]},
    {"skip": ["Order", "Quiet"]},
    {"children": True},
    {"task_queue": "elsewhere"},
    {"targets": {"Order": "orders"}, "settings": {"orders": TableSettings()}},
]


async def failures_of(
    plugins: list[ReconcilerPlugin],
    wanted: Callable[[str], bool],
    runner: WorkflowRunner | None = None,
) -> dict[str, str]:
    """The histories that cannot be replayed, and why."""
    chosen = {name: history for name, history in HISTORIES.items() if wanted(name)}
    assert chosen
    replayer = Replayer(
        workflows=WORKFLOWS,
        plugins=plugins,
        workflow_runner=runner or SandboxedWorkflowRunner(),
        debug_mode=True,  # otherwise a slow machine looks like a deadlock
    )
    found = {}
    for name, history in chosen.items():
        result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        if result.replay_failure is not None:
            found[name] = str(result.replay_failure)
    return found


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
@pytest.mark.parametrize("runner", [SandboxedWorkflowRunner, UnsandboxedWorkflowRunner])
async def test_with_the_plugin(
    options: dict[str, Any], runner: Callable[[], WorkflowRunner]
) -> None:
    plugin = ReconcilerPlugin(**options)

    assert await failures_of([plugin], lambda name: name not in ONLY_BY_HAND, runner()) == {}


@pytest.mark.parametrize("plugins", [[], [{"skip": ["OrderByHand"]}]], ids=["alone", "skipped"])
async def test_by_hand(plugins: list[dict[str, Any]]) -> None:
    given = [ReconcilerPlugin(**options) for options in plugins]

    assert await failures_of(given, lambda name: "by_hand" in name) == {}


def reports(history: WorkflowHistory) -> bool:
    return any(
        event.marker_recorded_event_attributes.marker_name == "core_patch"
        for event in history.events
    )


async def test_most_contain_a_report_and_need_the_plugin() -> None:
    reporting = {name for name, each in HISTORIES.items() if reports(each)}
    assert len(reporting) > len(HISTORIES) * 0.8

    assert await failures_of([], lambda name: "by_hand" not in name) != {}
