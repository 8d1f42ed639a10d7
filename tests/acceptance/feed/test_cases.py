"""Every way in which a chain of runs can end is found by the feed alone.

The cases are those of the integration tests, all at once, with a row for each use of a workflow id.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from tests.acceptance.feed.conftest import QUEUE
from tests.integration.temporal import test_chains, test_closes
from tests.support.commands.scene import Scene
from tests.support.passes.truth import by_row
from tests.support.polling import eventually
from tests.support.temporal.world import World

pytestmark = pytest.mark.long

#: Where the moment of looking decides: of several uses of an id, a row without a run id may belong
#: to any; what is reset after its end ends twice; what is deleted is missing.
LEFT_OUT = {
    "TestRowsWithoutRunId",
    "test_of_a_closed_run_is_open_again",
    "test_the_older_run_is_found_when_the_current_one_was_deleted",
}
#: These take the end that their world is given at first.
WITHOUT_RUN_ID = (
    test_chains.TestContinueAsNew().test_done,
    test_chains.TestRetryPolicy().test_exhausted,
    test_chains.TestCron().test_terminated,
    test_closes.test_terminated,
)

Case = Callable[[World], Coroutine[Any, Any, None]]


@dataclass
class Recorded(World):
    """Inserts a row when a workflow starts, as an application would."""

    scene: Scene | None = None
    has_run_id: bool = True

    async def start(
        self, script: str, text: str = "text", **options: Any
    ) -> WorkflowHandle[Any, Any]:
        assert self.scene is not None
        handle = await super().start(script, text, **options)
        self.scene.handles.append(handle)
        run_id = handle.first_execution_run_id if self.has_run_id else None
        await self.scene.database.insert(handle.id, run_id)
        return handle


def cases(module: ModuleType) -> Iterator[Case]:
    """The module's tests that need nothing but a world."""
    for name, found in vars(module).items():
        if name in LEFT_OUT:
            continue
        if name.startswith("test_"):
            yield from each_of(found)
        elif name.startswith("Test"):
            for method in vars(found):
                if method.startswith("test_") and method not in LEFT_OUT:
                    yield from each_of(getattr(found(), method))


def each_of(test: Callable[..., Coroutine[Any, Any, None]]) -> Iterator[Case]:
    """A test with each of its parameters; none if it needs more than that."""
    (mark,) = getattr(test, "pytestmark", None) or [pytest.mark.parametrize((), [()]).mark]
    names = (mark.args[0],) if isinstance(mark.args[0], str) else mark.args[0]
    if set(test.__annotations__) != {"return", "world", *names}:
        return
    for given in mark.args[1]:
        values = getattr(given, "values", given)
        chosen = dict(zip(names, values if len(names) > 1 else [given], strict=False))

        async def run(world: World, chosen: dict[str, Any] = chosen) -> None:
            await test(world, **chosen)

        yield run


async def test_every_case_of_the_integration_tests(scene: Scene) -> None:
    every = [(case, True) for module in (test_chains, test_closes) for case in cases(module)]
    every += [(case, False) for case in WITHOUT_RUN_ID]
    assert len(every) > 35
    async with scene.following(RECONCILER_GRACE="0") as running:
        async with asyncio.TaskGroup() as group:
            for number, (case, has_run_id) in enumerate(every):
                name = f"{scene.prefix}/{number}"
                group.create_task(case(Recorded(scene.client, QUEUE, name, scene, has_run_id)))
        await scene.end_all()
        await eventually(scene.finished())
        assert await running.stop() == 0

    assert await scene.found_by() == {"feed": len(await scene.rows())}
    assert len(by_row(await scene.changes())) == len(await scene.rows())
    assert await scene.passed_again() == await scene.values()
    statuses = Counter(row["temporal_status"] for row in await scene.changes())
    assert set(statuses) == {"COMPLETED", "FAILED", "CANCELED", "TERMINATED", "TIMED_OUT"}
