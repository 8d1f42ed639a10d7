"""What is kept of passes, and who may pass: in our schema, or nowhere (RECONCILER_JOURNAL=off)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TypeAlias

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.ports import History, Lease, Observer
from reconciler.core.verdict import StatusValues
from reconciler.core.window import EVERY, Window
from reconciler.postgres.journal.entries import StoredChange
from reconciler.postgres.journal.history import PassHistory
from reconciler.postgres.journal.lease import Lease as OwnLease
from reconciler.postgres.journal.lease import lease_name
from reconciler.postgres.journal.prune import Pruning
from reconciler.postgres.journal.reader import JournalReader
from reconciler.postgres.journal.schema_check import check_own_schema, check_readable
from reconciler.postgres.journal.unrecorded import NoHistory, NoLease
from reconciler.postgres.rows.ruled_out import RuledOut
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable


class OwnSchema:
    """All of it: the journal, the history, the lease."""

    #: Whether what passes change is journalled.
    journals = True

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine, self._ruled_out = engine, RuledOut()

    async def check(self, *, looping: bool) -> None:
        """Check that it can be used; `looping`: the lease too. Raises `DatabaseUnfit`."""
        await check_own_schema(self._engine, looping=looping)

    def store(self, table: MappedTable, window: Window = EVERY) -> PostgresStore:
        """Writes what it finishes into the journal."""
        return PostgresStore(self._engine, table, window, ruled_out=self._ruled_out)

    def history(self, table_name: str, namespace: str, statuses: StatusValues) -> History:
        """The passes over a table and a namespace."""
        return PassHistory(self._engine, table_name, namespace, statuses)

    def pruning(self, table_name: str, namespace: str, kept: timedelta) -> Sequence[Observer]:
        """Who removes of the history and the journal what is older than that."""
        return [Pruning(self._engine, table_name, namespace, kept)]

    async def last_changes(
        self, table: MappedTable, workflow_id: str
    ) -> tuple[Mapping[str, StoredChange], str | None]:
        """The last change of each row of a workflow id; or why the journal cannot be read."""
        try:
            await check_readable(self._engine)
        except DatabaseUnfit as error:
            return {}, str(error)
        return await JournalReader(self._engine).last_changes(table.identity, workflow_id), None

    def lease(self, table_name: str, namespace: str, holder: str, of: str = "") -> Lease:
        """The right to pass, or `of` another kind of pass, of a process called `holder`."""
        return OwnLease(self._engine, lease_name(table_name, of), namespace, holder)


class NoSchema:
    """None of it: the database has nothing of ours, and the role needs the table alone."""

    journals = False

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine, self._ruled_out = engine, RuledOut()

    async def check(self, *, looping: bool) -> None:
        """There is nothing to check."""

    def store(self, table: MappedTable, window: Window = EVERY) -> PostgresStore:
        """The same guarded write, without its journal."""
        ruled_out = self._ruled_out
        return PostgresStore(self._engine, table, window, journalled=False, ruled_out=ruled_out)

    def history(self, table_name: str, namespace: str, statuses: StatusValues) -> History:  # noqa: ARG002
        """Of this process alone."""
        return NoHistory(self._engine)

    def pruning(self, table_name: str, namespace: str, kept: timedelta) -> Sequence[Observer]:  # noqa: ARG002
        """Nobody."""
        return []

    async def last_changes(
        self,
        table: MappedTable,  # noqa: ARG002
        workflow_id: str,  # noqa: ARG002
    ) -> tuple[Mapping[str, StoredChange], str | None]:
        """None is known."""
        return {}, "RECONCILER_JOURNAL is off"

    def lease(self, table_name: str, namespace: str, holder: str, of: str = "") -> Lease:  # noqa: ARG002
        """Everybody's."""
        return NoLease()


Bookkeeping: TypeAlias = OwnSchema | NoSchema


def bookkeeping(engine: AsyncEngine, *, journal: bool) -> Bookkeeping:
    """In our schema or, without a journal, in none."""
    return OwnSchema(engine) if journal else NoSchema(engine)
