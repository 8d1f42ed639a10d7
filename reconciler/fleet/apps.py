"""The connections of a worker: one `App` for each target, opened again for each backfill.

So each backfill reads the table's definition, as each pass does. It is shared by the activities
that run here at the same time, and closed when it has been idle for a while.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from reconciler.app.app import App
from reconciler.app.wiring import Shared, open_app
from reconciler.core.errors import Unusable
from reconciler.fleet.previewed import as_asked, preview, why_different
from reconciler.fleet.range_pass import window_of
from reconciler.fleet.tasks import Work
from reconciler.postgres.journal.reader import JournalReader
from reconciler.settings.model import Settings

#: Seconds after which connections that no activity uses are closed.
IDLE = 60.0


class Refused(Exception):
    """This worker must not do the work; the text says why, in one line.

    `lasts`: nor may any other.
    """

    def __init__(self, why: str, *, lasts: bool = False) -> None:
        super().__init__(why)
        self.lasts = lasts


@dataclass(eq=False)
class _Opened:
    pass_id: str
    app: App
    stack: AsyncExitStack
    users: int = 0
    #: Whether its pass is in the `passes` table.
    is_recorded: bool = False
    closing: asyncio.TimerHandle | None = field(default=None)


class Apps:
    """Opens what activities need, and closes it."""

    def __init__(self, targets: Mapping[str, Settings], shared: Shared) -> None:
        self._targets, self._shared = targets, shared
        self._opened: dict[str, _Opened] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def using(self, work: Work, *, begins: bool = False) -> AsyncIterator[App]:
        """The target's `App`, once it is certain that it fits.

        `begins`: the pass need not be recorded yet. Raises `Refused`, or `Unusable`.
        """
        target = work.previewed.target
        async with self._locks[target]:
            opened = await self._open(work)
            opened.users += 1
        try:
            if not (begins or work.dry_run or opened.is_recorded):
                await _check_recorded(opened.app, work.pass_id)
            opened.is_recorded = opened.is_recorded or not begins
            yield opened.app
        except Unusable:
            self._forget(target, opened)  # the next attempt reads everything again
            raise
        finally:
            opened.users -= 1
            self._close_if_unused(target, opened)

    async def _open(self, work: Work) -> _Opened:
        target = work.previewed.target
        opened = self._opened.get(target)
        if opened is not None and opened.pass_id == work.pass_id:
            return opened
        if opened is not None:
            self._forget(target, opened)
            self._close_if_unused(target, opened)
        settings = self._targets.get(target)
        if settings is None:
            raise Refused(f"this worker has no target {target!r}" if target else _HAS_TARGETS)
        async with AsyncExitStack() as stack:
            app = await stack.enter_async_context(
                open_app(
                    as_asked(settings, work.previewed),
                    writing=not work.dry_run,
                    dry_run=work.dry_run,
                    looping=not work.dry_run,
                    by_type=work.previewed.workflow_type is not None,
                    ask_archive=True,
                    shared=self._shared,
                )
            )
            await _check(app, work)
            opened = self._opened[target] = _Opened(work.pass_id, app, stack.pop_all())
        return opened

    def _forget(self, target: str, opened: _Opened) -> None:
        if self._opened.get(target) is opened:
            del self._opened[target]

    def _close_if_unused(self, target: str, opened: _Opened) -> None:
        if opened.closing is not None:
            opened.closing.cancel()
        if opened.users:
            return
        if self._opened.get(target) is opened:
            loop = asyncio.get_running_loop()
            opened.closing = loop.call_later(IDLE, self._retire, target, opened)
        else:
            task = asyncio.create_task(opened.stack.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _retire(self, target: str, opened: _Opened) -> None:
        if not opened.users:
            self._forget(target, opened)
            self._close_if_unused(target, opened)

    async def close(self) -> None:
        """Close everything: no activity runs any more."""
        for target, opened in list(self._opened.items()):
            self._retire(target, opened)
        if self._closing:
            await asyncio.wait(self._closing)


_HAS_TARGETS = "this worker has targets, and the backfill names none"


async def _check(app: App, work: Work) -> None:
    if not work.dry_run and not app.journals:
        raise Refused(
            "RECONCILER_JOURNAL is off on this worker, so its changes could not be undone"
        )
    own = await preview(app, window_of(work.previewed))
    if why := why_different(work.previewed, own):
        raise Refused(why)


async def _check_recorded(app: App, pass_id: str) -> None:
    if not await JournalReader(app.engine).find(str(UUID(pass_id)), 1):
        raise Refused(f"the database of this worker has no pass {pass_id}")
