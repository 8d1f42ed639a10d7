"""Passes, the lease, the feed's marks: recorded in reconciler's schema, or not (JOURNAL=off)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.feed.ports import Marks
from reconciler.core.observer import Observer
from reconciler.core.policy import StatusValues
from reconciler.core.ports import History, Lease
from reconciler.core.window import EVERY, Window
from reconciler.postgres.journal.entries import StoredChange
from reconciler.postgres.journal.history import PassHistory
from reconciler.postgres.journal.lease import PostgresLease, lease_name
from reconciler.postgres.journal.marks import PostgresMarks
from reconciler.postgres.journal.prune import Pruning
from reconciler.postgres.journal.reader import JournalReader
from reconciler.postgres.journal.schema_check import check_readable, check_schema
from reconciler.postgres.journal.shared_pass import SharedPassStore
from reconciler.postgres.journal.stuck.record import PostgresStuckRows
from reconciler.postgres.journal.unrecorded import NoHistory, NoLease, NoMarks
from reconciler.postgres.rows.ruled_out import RuledOut
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable


class Bookkeeping:
    """What passes need besides the application's table, with or without a journal."""

    def __init__(self, engine: AsyncEngine, *, journal: bool) -> None:
        #: Whether changes are journalled.
        self.journals = journal
        self._engine, self._ruled_out = engine, RuledOut()

    async def check(self, *, looping: bool) -> None:
        """Check that the schema can be used; `looping`: the lease too. Raises `DatabaseUnfit`."""
        if self.journals:
            await check_schema(self._engine, looping=looping)

    def store(
        self,
        table: MappedTable,
        window: Window = EVERY,
        found_by: str | None = None,
        *,
        shared: bool = False,
    ) -> PostgresStore:
        """The store of a pass; `found_by`: see `PassRequest`, `shared`: `SharedPassStore`."""
        kind = SharedPassStore if shared else PostgresStore
        return kind(
            self._engine,
            table,
            window,
            journalled=self.journals,
            found_by=found_by,
            ruled_out=self._ruled_out,
        )

    def history(self, table_name: str, namespace: str, statuses: StatusValues) -> History:
        """The passes over a table and a namespace; without a journal, those of this process."""
        if not self.journals:
            return NoHistory(self._engine)
        return PassHistory(self._engine, table_name, namespace, statuses)

    def pruning(self, table_name: str, namespace: str, kept: timedelta) -> Sequence[Observer]:
        """What removes records from the history and the journal that are older than that."""
        return [Pruning(self._engine, table_name, namespace, kept)] if self.journals else []

    def stuck_rows(
        self, table: Callable[[], Awaitable[MappedTable]], namespace: str
    ) -> PostgresStuckRows | None:
        """The record of stuck rows of a table; None without a journal."""
        return PostgresStuckRows(self._engine, table, namespace) if self.journals else None

    async def last_changes(
        self, table: MappedTable, workflow_id: str
    ) -> tuple[Mapping[str, StoredChange], str | None]:
        """See `JournalReader.last_changes`; or why that is not known."""
        if not self.journals:
            return {}, "RECONCILER_JOURNAL is off"
        try:
            await check_readable(self._engine)
        except DatabaseUnfit as error:
            return {}, str(error)
        return await JournalReader(self._engine).last_changes(table, workflow_id), None

    def marks(self, table_name: str) -> Marks:
        """The feed's marks over a table; without a journal, those of this process."""
        if not self.journals:
            return NoMarks(self._engine)
        return PostgresMarks(self._engine, table_name)

    def lease(self, table_name: str, namespace: str, holder: str, of: str = "") -> Lease:
        """The lease on the table, or for `of`, another kind of pass, for the process `holder`."""
        if not self.journals:
            return NoLease()
        return PostgresLease(self._engine, lease_name(table_name, of), namespace, holder)
