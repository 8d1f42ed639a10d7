"""What PostgreSQL is asked, and how long for: the statements of connections opened meanwhile."""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.pool import Pool

#: What is around the statements of a transaction.
FRAME = ("BEGIN", "COMMIT", "ROLLBACK")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as the driver got it, and how long its answer took to come.

    Without the pauses of Python's garbage collector, which may take 100 ms: they are no
    statement's.
    """

    query: str
    arguments: tuple[Any, ...]
    seconds: float

    @property
    def kind(self) -> str:
        """What it is for, by what stands in it."""
        if "unnest(" in self.query:
            return "a batch's write"
        if "reconciler.passes" in self.query:
            return "the history of passes"
        if "workflow_executions" in self.query and "LIMIT" in self.query:
            return "a page's read"
        return "BEGIN, COMMIT, ROLLBACK" if self.query.startswith(FRAME) else "others"


@contextmanager
def watched(report: Callable[[Statement], None]) -> Iterator[None]:
    """Report each statement on SQLAlchemy's connections that are opened meanwhile.

    Seen below SQLAlchemy, at the driver's two ways of asking: so it does not matter by which of
    them a statement goes.
    """
    pauses = Pauses()

    def note(logged: Any) -> None:
        seconds = logged.elapsed - pauses.since(time.perf_counter() - logged.elapsed)
        report(Statement(logged.query, tuple(logged.args or ()), seconds))

    def watch(connection: Any, _: Any) -> None:
        connection.driver_connection.add_query_logger(note)

    fetch = PreparedStatement.fetch
    sa.event.listen(Pool, "connect", watch)
    PreparedStatement.fetch = _reporting(fetch, report, pauses)
    gc.callbacks.append(pauses.note)
    try:
        yield
    finally:
        gc.callbacks.remove(pauses.note)
        PreparedStatement.fetch = fetch
        sa.event.remove(Pool, "connect", watch)


class Pauses:
    """When the garbage collector was at work, and everything else of this process was not."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        #: When each began, and how long it took; the latest, more than come in one statement.
        self._taken: deque[tuple[float, float]] = deque(maxlen=1000)
        self._began = 0.0

    def note(self, phase: str, _: Any) -> None:
        """A callback of `gc`."""
        now = self._clock()
        if phase == "start":
            self._began = now
        else:
            self._taken.append((self._began, now - self._began))

    def since(self, moment: float) -> float:
        """The seconds it took since then."""
        total = 0.0
        for began, seconds in reversed(self._taken):
            if began < moment:
                break
            total += seconds
        return total


def _reporting(
    fetch: Callable[..., Any], report: Callable[[Statement], None], pauses: Pauses
) -> Callable[..., Any]:
    # The driver's logger does not get prepared statements.
    async def noted(prepared: Any, *arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        answer = await fetch(prepared, *arguments, **options)
        seconds = time.perf_counter() - started - pauses.since(started)
        report(Statement(prepared.get_query(), arguments, seconds))
        return answer

    return noted
