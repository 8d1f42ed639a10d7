"""Records the statements that are sent to PostgreSQL, and how long they take."""

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

#: What begins and ends a transaction.
FRAME = ("BEGIN", "COMMIT", "ROLLBACK")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as the driver sends it."""

    query: str
    arguments: tuple[Any, ...]
    #: Until the answer came, without pauses of Python's garbage collector, which may take 100 ms.
    seconds: float

    @property
    def kind(self) -> str:
        """What it is for, judged by its text."""
        if "unnest(" in self.query:
            return "a batch's write"
        if "reconciler.passes" in self.query:
            return "the history of passes"
        if "workflow_executions" in self.query and "LIMIT" in self.query:
            return "a page's read"
        return "BEGIN, COMMIT, ROLLBACK" if self.query.startswith(FRAME) else "others"


@contextmanager
def watched(record: Callable[[Statement], None]) -> Iterator[None]:
    """Record each statement of the connections that SQLAlchemy opens within this context.

    Hooks into both of the driver's ways to send a statement, below SQLAlchemy.
    """
    pauses = Pauses()

    def log(logged: Any) -> None:
        seconds = logged.elapsed - pauses.since(time.perf_counter() - logged.elapsed)
        record(Statement(logged.query, tuple(logged.args or ()), seconds))

    def watch(connection: Any, _: Any) -> None:
        connection.driver_connection.add_query_logger(log)

    fetch = PreparedStatement.fetch
    sa.event.listen(Pool, "connect", watch)
    PreparedStatement.fetch = _recording(fetch, record, pauses)
    gc.callbacks.append(pauses.add)
    try:
        yield
    finally:
        gc.callbacks.remove(pauses.add)
        PreparedStatement.fetch = fetch
        sa.event.remove(Pool, "connect", watch)


class Pauses:
    """The pauses of the garbage collector."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        #: Start and duration of the latest ones, more than occur during one statement.
        self._taken: deque[tuple[float, float]] = deque(maxlen=1000)
        self._began = 0.0

    def add(self, phase: str, _: Any) -> None:
        """A callback for `gc.callbacks`."""
        now = self._clock()
        if phase == "start":
            self._began = now
        else:
            self._taken.append((self._began, now - self._began))

    def since(self, moment: float) -> float:
        """Total seconds of the pauses that began after this moment."""
        total = 0.0
        for began, seconds in reversed(self._taken):
            if began < moment:
                break
            total += seconds
        return total


def _recording(
    fetch: Callable[..., Any], record: Callable[[Statement], None], pauses: Pauses
) -> Callable[..., Any]:
    # The driver does not log prepared statements.
    async def recorded(prepared: Any, *arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        answer = await fetch(prepared, *arguments, **options)
        seconds = time.perf_counter() - started - pauses.since(started)
        record(Statement(prepared.get_query(), arguments, seconds))
        return answer

    return recorded
