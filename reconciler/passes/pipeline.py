"""The concurrency of a pass: reads pages, asks visibility, asks about many rows at a time.

```
read ──► screen ──► ask × concurrency ──► settled by the caller, page by page, in order
```

No stage waits longer than it must: while the last rows of one page are asked about, the first of
the next are, too. The number of pages under way is bounded.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from reconciler.core.errors import Unusable
from reconciler.core.model import Observation, RunRow, Unknown
from reconciler.core.ports import Observing, Probe, Store
from reconciler.core.report.progress import Span

#: Pages that are read and asked about while the caller settles one.
AHEAD = 1

# A team's codec may raise a cancellation of its own. Taken for ours, it would drop the row.
_BUGS = (Exception, asyncio.CancelledError)


@dataclass(slots=True, eq=False)
class Page:
    """Rows that were read together, and what is known of each."""

    rows: Sequence[RunRow]
    #: None for a row without an answer yet, or for good if the pass was stopped before it came.
    observations: list[Observation | None] = field(init=False)
    #: Whether visibility shows each row's workflow as open, see `Probe.screen`; None if not asked.
    visible: Sequence[bool | None] | None = None
    #: Whom to ask about its rows; set once it is screened.
    asking: Observing | None = None
    unanswered: int = field(init=False)
    #: Whether all rows of this page and of those before it are answered: then another process may
    #: resume the pass after it.
    complete: bool = False

    def __post_init__(self) -> None:
        self.observations = [None] * len(self.rows)
        self.unanswered = len(self.rows)

    def answer(self, index: int, observation: Observation) -> None:
        """Store the observation of a row."""
        self.observations[index] = observation
        self.unanswered -= 1


class Screening:
    """Answers rows of a page before Temporal is asked about each. By default none."""

    async def screen(self, page: Page) -> None:
        """Answer the rows that need no description in this pass."""

    def learn(self, page: Page) -> None:
        """Called once all rows of a page are answered."""


class Pipeline:
    """A span's running rows, page by page, with what Temporal says of them.

    The cursor moves past every row of a page, whatever its verdict: a row that is left is not read
    again in this pass, and cannot keep it from the rows after it.
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
        """`on_bug` is called for bugs that do not end the pass: event, error, row if there is one.

        `size`: rows per page; `concurrency`: rows asked about at the same time; `rows`: at most
        in all; `ahead`: pages that are read and asked about while the caller settles one.
        """
        self._store = store
        self._probe = probe
        self._span = span
        self._screening = screening
        self._on_bug = on_bug
        self._size = size
        self._concurrency = concurrency
        self._rows = rows
        self._free_pages = asyncio.Semaphore(1 + ahead)
        self._to_screen: asyncio.Queue[Page | None] = asyncio.Queue(maxsize=1)
        self._to_ask: asyncio.Queue[tuple[Page, int] | None] = asyncio.Queue()
        self._under_way: deque[Page] = deque()
        self._handed_out = False
        self._complete = True
        self._changed = asyncio.Event()
        self._work: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._work = asyncio.create_task(self._all_stages())
        self._work.add_done_callback(self._on_end)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        if not self._work.done():
            await asyncio.wait([self._work])

    def _on_end(self, work: asyncio.Task[None]) -> None:
        if not work.cancelled():
            work.exception()  # `next` raises it, unless nobody calls that any more
        self._changed.set()

    def stop(self) -> None:
        """Ask no more: `next` then returns the pages under way with the answers they have."""
        self._work.cancel()

    async def next(self) -> Page | None:
        """The next page once all of its rows are answered; None at the end.

        After a stop, or if a server became unusable, first returns the pages under way as they are,
        and only then raises `Unusable`. The caller must be done with the page before.
        """
        if self._handed_out:
            self._handed_out = False
            self._free_pages.release()
        while not self._work.done() and not self._has_answered_page():
            self._changed.clear()
            await self._changed.wait()
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
            # Of several a bug: an unusable server must not hide it.
            first = min(errors.exceptions, key=lambda error: isinstance(error, Unusable))
            raise first from (None if len(errors.exceptions) == 1 else errors)

    async def _read(self) -> None:
        after = self._span.after
        rows_left = self._rows
        while rows_left and after != self._span.until:
            await self._free_pages.acquire()
            size = min(self._size, rows_left)
            rows = await self._store.scan_running(after, self._span.until, size)
            if not rows:
                break
            page = Page(rows)
            self._under_way.append(page)
            await self._to_screen.put(page)
            after = rows[-1].id
            rows_left -= len(rows)
        await self._to_screen.put(None)

    async def _screen(self) -> None:
        while page := await self._to_screen.get():
            try:
                await self._screening.screen(page)
            except _BUGS as error:
                self._survive("screening_crashed", error)
            unanswered = [i for i, found in enumerate(page.observations) if found is None]
            page.asking = self._probe.together([page.rows[index] for index in unanswered])
            for index in unanswered:
                self._to_ask.put_nowait((page, index))
            if not page.unanswered:
                self._changed.set()
        for _ in range(self._concurrency):
            self._to_ask.put_nowait(None)

    async def _ask(self) -> None:
        while next_row := await self._to_ask.get():
            page, index = next_row
            page.answer(index, await self._observe(page, page.rows[index]))
            if not page.unanswered:
                self._changed.set()
                try:
                    self._screening.learn(page)
                except _BUGS as error:
                    self._survive("screening_crashed", error)

    async def _observe(self, page: Page, row: RunRow) -> Observation:
        try:
            return await (page.asking or self._probe).observe(row)
        except _BUGS as error:
            # A row that hits a bug in the reconciler must not keep others from being repaired.
            self._survive("row_crashed", error, row)
            return Unknown(f"internal error: {error!r}")

    def _survive(self, event: str, error: BaseException, row: RunRow | None = None) -> None:
        """Log a bug that does not end the pass. Raises `Unusable` and our cancellation again."""
        task = asyncio.current_task()
        cancelled = task is not None and task.cancelling() > 0
        if isinstance(error, Unusable) or (cancelled and isinstance(error, asyncio.CancelledError)):
            raise error
        self._on_bug(event, error, row)
        if cancelled:  # the bug replaced it
            raise asyncio.CancelledError from error
