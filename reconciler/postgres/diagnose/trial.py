"""Tries a pass's write on one running row, and rolls it back.

Nobody sees any of it: neither rows nor NOTIFY leave a transaction that is rolled back. What
PostgreSQL does not roll back stays: values taken from sequences, and what a trigger does outside of
the database. Waits for no lock: neither for a row's, nor for one that a trigger takes.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler import __version__
from reconciler.core.model import Mode, Outcome, RowId, RunRow
from reconciler.core.text import plural
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.diagnose.ends import End
from reconciler.postgres.rows.arrays import as_arrays
from reconciler.postgres.rows.guarded import GuardedWrite
from reconciler.postgres.rows.rejection import Concern, concern_of, said, words_of
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.rows.write import guarded_write
from reconciler.postgres.schema import passes
from reconciler.postgres.table.mapping import MappedTable

#: Running rows that are looked at for one that nobody has locked.
ROWS = 20
#: Milliseconds for a lock: the server has no shorter wait that is not an accident.
LOCK_TIMEOUT = 50

_NO_WAIT = sa.text(f"SELECT set_config('lock_timeout', '{LOCK_TIMEOUT}', true)")


@dataclass(frozen=True, slots=True)
class Trial:
    """What happened to the writes that were tried."""

    #: The row; None if none could be tried.
    row_id: RowId | None = None
    #: Why no row could be tried.
    untried: str = ""
    #: By the name of each end that was tried: why it cannot be written; empty if it can.
    problems: Mapping[str, str] = field(default_factory=dict)


async def try_write(
    engine: AsyncEngine,
    table: MappedTable,
    ends: Sequence[End],
    now: datetime,
    *,
    journalled: bool,
) -> Trial:
    """Write each of these ends into the same running row, and roll each back.

    `now` is the close time. Raises `Unusable` if the database does not answer.
    """
    store = PostgresStore(engine, table)
    until = await store.last_running()
    if until is None:
        return Trial(untried="no row is running")
    rows = [row for row in await store.scan_running(None, until, ROWS) if row.unreadable is None]
    write = guarded_write(table, journalled=journalled)
    tried = _Tried(table, GuardedWrite(engine, table, write, journalled=journalled), journalled)
    for row in rows:
        found = {end.name: await tried.problem_of(_outcome(end, row, now)) for end in ends}
        problems = {name: problem for name, problem in found.items() if problem is not None}
        if problems:
            return Trial(row.id, problems=problems)
    return Trial(untried=f"{plural(len(rows), 'running row')}, all of them locked or unreadable")


@dataclass(frozen=True, slots=True)
class _Tried:
    table: MappedTable
    write: GuardedWrite
    journalled: bool

    async def problem_of(self, outcome: Outcome) -> str | None:
        """Why the row cannot be written: empty if it can, None if it was locked or has changed."""
        pass_id = uuid4()
        first: list[sa.Executable] = [_NO_WAIT]
        if self.journalled:
            first.append(_a_pass(pass_id, self.table))
        given = as_arrays(str(pass_id), [outcome], self.table, self.table.codec)
        with translated(f"try a write of {self.table.full_name}"):
            try:
                attempt = await self.write.rehearse(given, first)
            except Exception as error:
                if concern_of(error) in (Concern.LOST, Concern.EVERYTHING):
                    raise
                return words_of(said(error))
        if attempt.spoiled:
            return attempt.spoiled[0]
        return "" if attempt.written else None


def _outcome(end: End, row: RunRow, now: datetime) -> Outcome:
    close_time, run_id = (None, None) if end.unknown else (now, row.run_id)
    return Outcome(row, end.status, close_time, end.message, end.evidence, run_id)


def _a_pass(pass_id: UUID, table: MappedTable) -> sa.Insert:
    """A line of the history, to which lines of the journal refer."""
    return sa.insert(passes).values(
        id=pass_id,
        mode=Mode.ONCE,
        started_at=sa.func.now(),
        host=socket.gethostname(),
        version=__version__,
        table_name=table.scope,
    )
