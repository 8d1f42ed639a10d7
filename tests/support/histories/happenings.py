"""Events that can occur while the end of a workflow is written."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError, WorkflowUpdateStage

from tests.integration.worker.conftest import Site
from tests.support.polling import eventually

Handle: TypeAlias = WorkflowHandle[Any, Any]
Happening: TypeAlias = Callable[[Site, Handle], Awaitable[None]]


def signal(name: str, *arguments: Any) -> Happening:
    async def do(site: Site, handle: Handle) -> None:
        await handle.signal(name, args=arguments)
        await handle.query("held")  # waits for the signal to be handled

    return do


def update(name: str, *arguments: Any) -> Happening:
    async def do(site: Site, handle: Handle) -> None:
        with contextlib.suppress(WorkflowUpdateFailedError):
            await handle.execute_update(name, args=arguments)

    return do


def begin_update(name: str, *arguments: Any) -> Happening:
    async def do(site: Site, handle: Handle) -> None:
        with contextlib.suppress(WorkflowUpdateFailedError):
            await handle.start_update(
                name, args=arguments, wait_for_stage=WorkflowUpdateStage.ACCEPTED
            )

    return do


async def cancel(site: Site, handle: Handle) -> None:
    before = (await site.world.describe()).workflow_execution_info.history_length
    await handle.cancel(reason="too late")
    await eventually(lambda: _grown(site, before + 3))


async def _grown(site: Site, length: int) -> bool:
    return (await site.world.describe()).workflow_execution_info.history_length > length


def together(
    *them: Happening,
) -> Happening:
    async def do(site: Site, handle: Handle) -> None:
        for each in them:
            await each(site, handle)

    return do
