"""What a pass does at the same time: reading pages, asking visibility, asking about many rows.

```
read ──► screen ──► ask × concurrency ──► settled by the caller, page by page in their order
```

No stage waits for more of the stage before than it needs: while the last rows of one page are asked
about, the first of the next are, too. The caller's next page is one of a bounded number.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from reconciler.core.errors import Unusable
from reconciler.core.model import Observation, RunRow, Unknown
from reconciler.core.ports import Probe, Store
from reconciler.core.progress import Span

#: Pages that are read and asked about while the caller settles one.
AHEAD = 1


@dataclass(slots=True, eq=False)
class Page:
    """Rows that were read together, and what is known of each."""

    rows: Sequence[RunRow]
    #: None as long as there is no answer, also in the end if the pass was stopped before it came.
    observations: list[Observation | None] = field(init=False)
    #: Whether visibility shows each row's workflow as open, see `Probe.screen`; None if it was not
    #: asked.
    visible: Sequence[bool | None] | None = None
    #: When visibility was asked.
    screened_at: datetime | None = None
    unanswered: int = field(init=False)
    #: Whether all rows are answered, of this page and of those before: what another process that
    #: goes on with the pass may take as done.
    complete: bool = False

    def __post_init__(self) -> None:
        self.observations = [None] * len(self.rows)
        self.unanswered = len(self.rows)

    def answer(self, index: int, observation: Observation) -> None:
        """What was found about a row."""
        self.observations[index] = observation
        self.unanswered -= 1


class Screening:
    """Answers rows of a page before Temporal is asked about each. By default none."""

    async def screen(self, page: Page) -> None:
        """Answer what needs no description this time."""

    def learn(self, page: Page) -> None:
        """All rows of a page have their answers."""


class Pipeline:
    """A span's running rows, page by page, with what Temporal says of them.

    The cursor moves past every row of a page, whatever becomes of them: rows that are left as
    they are cannot be met again, nor strand those after them.
    """

    def __init__(
        self,
        store: Store,
        probe: Probe,
        span: Span,
        screening: Screening,
        on_bug: Callable[[str, BaseException, RunRow | None], None],
        *,
        size: int,
        concurrency: int,
        rows: int = sys.maxsize,
        ahead: int = AHEAD,
    ) -> None:
        """`on_bug` is called for bugs that end nothing: event, error, and row if there is one.

        `size`: rows per page; `concurrency`: rows asked about at the same time; `rows`: at most
        in all; `ahead`: pages that are read and asked about while the caller settles one.
        """
        self._store, self._probe, self._span = store, probe, span
        self._screening, self._on_bug = screening, on_bug
        self._size, self._concurrency, self._rows = size, concurrency, rows
        self._room = asyncio.Semaphore(1 + ahead)
        self._read_pages: asyncio.Queue[Page | None] = asyncio.Queue(maxsize=1)
        self._to_ask: asyncio.Queue[tuple[Page, int] | None] = asyncio.Queue()
        self._under_way: deque[Page] = deque()
        self._handed_out = False
        self._complete = True
        self._news = asyncio.Event()
        self._work: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._work = asyncio.create_task(self._all_stages())
        self._work.add_done_callback(self._has_ended)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        if not self._work.done():
            await asyncio.wait([self._work])

    def _has_ended(self, work: asyncio.Task[None]) -> None:
        if not work.cancelled():
            work.exception()  # raised by `next`, or no longer of interest
        self._news.set()

    def stop(self) -> None:
        """Ask no more: the pages that are left come with the answers there are."""
        self._work.cancel()

    async def next(self) -> Page | None:
        """The next page once all of its rows are answered; None at the end.

        When it was stopped, or if a server became unusable, the rest of the pages come as they
        are. Only then raises `Unusable`. To ask for the next page means to be done with the last.
        """
        if self._handed_out:
            self._handed_out = False
            self._room.release()
        while not self._work.done() and not self._has_answered_page():
            self._news.clear()
            await self._news.wait()
        if self._under_way:
            page = self._under_way.popleft()
            page.complete = self._complete = self._complete and not page.unanswered
            self._handed_out = True
            return page
        if not self._work.cancelled():
            self._work.result()
        return None

    def _has_answered_page(self) -> bool:
        return bool(self._under_way) and not self._under_way[0].unanswered

    async def _all_stages(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read())
                group.create_task(self._screen())
                for _ in range(self._concurrency):
                    group.create_task(self._ask())
        except BaseExceptionGroup as errors:
            raise _first_to_raise(errors) from (None if len(errors.exceptions) == 1 else errors)

    async def _read(self) -> None:
        after, rows_left = self._span.after, self._rows
        while rows_left and after != self._span.until:
            await self._room.acquire()
            size = min(self._size, rows_left)
            rows = await self._store.scan_running(after, self._span.until, size)
            if not rows:
                break
            page = Page(rows)
            self._under_way.append(page)
            await self._read_pages.put(page)
            after, rows_left = rows[-1].id, rows_left - len(rows)
        await self._read_pages.put(None)

    async def _screen(self) -> None:
        while page := await self._read_pages.get():
            try:
                await self._screening.screen(page)
            except _BUGS as error:
                self._survive("screening_crashed", error)
            for index, observation in enumerate(page.observations):
                if observation is None:
                    self._to_ask.put_nowait((page, index))
            if not page.unanswered:
                self._news.set()
        for _ in range(self._concurrency):
            self._to_ask.put_nowait(None)

    async def _ask(self) -> None:
        while asked := await self._to_ask.get():
            page, index = asked
            page.answer(index, await self._observe(page.rows[index]))
            if not page.unanswered:
                self._news.set()
                try:
                    self._screening.learn(page)
                except _BUGS as error:
                    self._survive("screening_crashed", error)

    async def _observe(self, row: RunRow) -> Observation:
        try:
            return await self._probe.observe(row)
        except _BUGS as error:
            # A row that hits a bug in the reconciler must not keep the others from being repaired.
            self._survive("row_crashed", error, row)
            return Unknown(f"internal error: {error!r}")

    def _survive(self, event: str, error: BaseException, row: RunRow | None = None) -> None:
        """Log a bug that ends nothing. `Unusable` and our own cancellation are raised again."""
        task = asyncio.current_task()
        cancelled = task is not None and task.cancelling() > 0
        if isinstance(error, Unusable) or (cancelled and isinstance(error, asyncio.CancelledError)):
            raise error
        self._on_bug(event, error, row)
        if cancelled:  # the bug took its place
            raise asyncio.CancelledError from error


# A team's codec may raise a cancellation of its own: taken for ours, the row would be left out.
_BUGS = (Exception, asyncio.CancelledError)


def _first_to_raise(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of several errors at the same time a bug, which an unusable server must not hide."""
    bugs = (each for each in errors.exceptions if not isinstance(each, Unusable))
    return next(bugs, errors.exceptions[0])
