"""How long a view waits, also for servers that do not let go."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.app.overview.patience import in_time
from reconciler.core.errors import DatabaseUnusable


@pytest.mark.parametrize("end", [None, DatabaseUnusable("away", "")])
async def test_a_question_that_cannot_be_cancelled_at_once_is_not_waited_for(
    end: Exception | None,
) -> None:
    lets_go, ended = asyncio.Event(), asyncio.Event()

    async def ask() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await lets_go.wait()
            ended.set()
            if end is not None:
                raise end

    async with asyncio.timeout(30):
        assert await in_time(ask, 0.01) == (None, "no answer within 0.01 s")
        lets_go.set()
        await ended.wait()


async def test_a_view_that_goes_away_ends_its_question() -> None:
    asking, ended = asyncio.Event(), asyncio.Event()

    async def ask() -> None:
        asking.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.timeout(30):
        view = asyncio.create_task(in_time(ask, 30))
        await asking.wait()
        view.cancel()
        await ended.wait()
