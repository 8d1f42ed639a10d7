"""The status of a completed workflow, if the application derives it from the result."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from reconciler.worker import ReconcilerPlugin, report_outcome, status_activity
from reconciler.worker.ending import chosen_status, status_text
from tests.integration.worker.conftest import Site
from tests.support.temporal.workflows import Scripted
from tests.support.worker.workflows import Graded, graded

RESULTS = [("well", "completed"), ("partly", "partly"), ("later", "running")]


class State(Enum):
    PARTLY = "partly"


def refuse(result: str) -> str:
    raise ValueError(f"what is {result}?")


def cancel(_: str) -> str:
    raise asyncio.CancelledError("cancelled by status_of")


@pytest.mark.parametrize(("result", "status"), RESULTS)
async def test_the_plugin_writes_the_status_for_the_result(
    site: Site, result: str, status: str
) -> None:
    plugin = ReconcilerPlugin(site.database.engine, status_of=graded)
    async with site.worker(plugin):
        handle = await site.start("complete", result)
        assert await handle.result() == result

    assert await site.outcome() == (status, None)
    assert await site.reports() == (status != "running")


async def test_other_ends_have_their_values(site: Site) -> None:
    async with site.worker(ReconcilerPlugin(site.database.engine, status_of=refuse)):
        await site.closed(await site.start("fail", "no money"))

    assert await site.outcome() == ("failed", "OrderFailed: no money")


@pytest.mark.parametrize("plugin", [True, False])
@pytest.mark.parametrize(("result", "status"), RESULTS)
async def test_the_decorator_does_so_too_beside_the_plugin_as_well(
    site: Site, result: str, status: str, plugin: bool
) -> None:
    engine = site.database.engine
    options: dict[str, Any] = {"activities": [status_activity(engine)]}
    if plugin:
        options = {"plugins": [ReconcilerPlugin(engine)]}
    async with site.bare_worker(**{"workflows": [Graded], "activities": [], **options}):
        await site.closed(await site.start("complete", result, workflow="Graded"))

    assert await site.outcome() == (status, None)


@pytest.mark.parametrize(
    ("status_of", "why"),
    [
        (lambda _: "lost", "cannot hold 'lost' (status_of): return one of the column's values"),
        (lambda _: "running", "status_of returned 'running', which stands for running rows"),
        (lambda _: 1.5, "status_of must return a value of the status column, or None to leave"),
        (refuse, "what is well?"),
        (cancel, "cancelled by status_of"),
        (lambda _: workflow.continue_as_new(), "ContinueAsNewError"),
    ],
)
async def test_an_invalid_status_leaves_the_row_and_is_logged(
    site: Site,
    caplog: pytest.LogCaptureFixture,
    status_of: Callable[[Any], object],
    why: str,
) -> None:
    await site.database.execute("ALTER TABLE workflow_executions ADD CHECK (status <> 'lost')")
    with caplog.at_level(logging.WARNING):
        async with site.worker(ReconcilerPlugin(site.database.engine, status_of=status_of)):
            handle = await site.start("complete", "well")
            assert await handle.result() == "well"

    assert await site.outcome() == ("running", None)
    assert sum(why in line for line in caplog.messages if "could not be written" in line) == 1


async def test_a_history_is_replayed_with_another_function(site: Site) -> None:
    async with site.worker(ReconcilerPlugin(site.database.engine, status_of=graded)):
        reported = await site.start("complete", "partly")
        await site.closed(reported)
    history = await reported.fetch_history()

    for status_of in (None, lambda _: None, refuse):
        plugin = ReconcilerPlugin(site.database.engine, status_of=status_of)
        replayer = Replayer(workflows=[Scripted], plugins=[plugin])
        await replayer.replay_workflow(WorkflowHistory(site.workflow_id, history.events))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("partly", "partly"),
        (State.PARTLY, "partly"),
        (True, "true"),
        (3, "3"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_values_of_any_column(value: object, text: str) -> None:
    assert status_text(value) == text


def test_an_iterator_is_not_used_up() -> None:
    result = iter([1])

    with pytest.raises(TypeError, match="status_of cannot look at an iterator"):
        chosen_status(list, result)

    assert next(result) == 1


async def asynchronous(_: object) -> str:
    return "completed"


@pytest.mark.parametrize(
    ("of", "what"), [("completed", "a function, not str"), (asynchronous, "that is not async")]
)
def test_only_a_function_that_is_not_async_is_accepted(of: Any, what: str) -> None:
    for accept in (ReconcilerPlugin, report_outcome):
        with pytest.raises(TypeError, match=f"status_of= takes .*{what}"):
            accept(status_of=of)
