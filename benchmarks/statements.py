"""What PostgreSQL is asked, and how long for: the statements of connections opened meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.pool import Pool


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as the driver got it, and how long its answer took to come."""

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
        if "LIMIT" in self.query and "ORDER BY" in self.query:
            return "a page's read"
        return "COMMIT" if self.query.startswith("COMMIT") else "others"


@contextmanager
def watched() -> Iterator[list[Statement]]:
    """The statements of SQLAlchemy's connections that are opened meanwhile, as they come.

    Seen below SQLAlchemy, at the driver's two ways of asking: so it does not matter by which of
    them a statement goes.
    """
    seen: list[Statement] = []

    def note(logged: Any) -> None:
        seen.append(Statement(logged.query, tuple(logged.args or ()), logged.elapsed))

    def watch(connection: Any, _: Any) -> None:
        connection.driver_connection.add_query_logger(note)

    fetch = PreparedStatement.fetch
    sa.event.listen(Pool, "connect", watch)
    PreparedStatement.fetch = _noting(fetch, seen)
    try:
        yield seen
    finally:
        PreparedStatement.fetch = fetch
        sa.event.remove(Pool, "connect", watch)


def _noting(fetch: Callable[..., Any], seen: list[Statement]) -> Callable[..., Any]:
    # The driver's logger is not told of statements that were prepared first.
    async def noted(prepared: Any, *arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        answer = await fetch(prepared, *arguments, **options)
        seconds = time.perf_counter() - started
        seen.append(Statement(prepared.get_query(), arguments, seconds))
        return answer

    return noted
