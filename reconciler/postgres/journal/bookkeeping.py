"""The records of passes and the lease: in reconciler's schema, or none (RECONCILER_JOURNAL=off)."""

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
from reconciler.postgres.journal.lease import PostgresLease, lease_name
from reconciler.postgres.journal.prune import Pruning
from reconciler.postgres.journal.reader import JournalReader
from reconciler.postgres.journal.schema_check import check_readable, check_schema
from reconciler.postgres.journal.unrecorded import NoHistory, NoLease
from reconciler.postgres.rows.ruled_out import RuledOut
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable


class Journalled:
    """With reconciler's schema: the journal, the history, the lease."""

    #: Whether changes are journalled.
    journals = True

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine, self._ruled_out = engine, RuledOut()

    async def check(self, *, looping: bool) -> None:
        """Check that the schema can be used; `looping`: the lease too. Raises `DatabaseUnfit`."""
        await check_schema(self._engine, looping=looping)

    def store(self, table: MappedTable, window: Window = EVERY) -> PostgresStore:
        """A store that journals what it finishes."""
        return PostgresStore(self._engine, table, window, ruled_out=self._ruled_out)

    def history(self, table_name: str, namespace: str, statuses: StatusValues) -> History:
        """The passes over a table and a namespace."""
        return PassHistory(self._engine, table_name, namespace, statuses)

    def pruning(self, table_name: str, namespace: str, kept: timedelta) -> Sequence[Observer]:
        """What removes records from the history and the journal that are older than that."""
        return [Pruning(self._engine, table_name, namespace, kept)]

    async def last_changes(
        self, table: MappedTable, workflow_id: str
    ) -> tuple[Mapping[str, StoredChange], str | None]:
        """The last change of each row of a workflow id, by its key as text; or why unknown."""
        try:
            await check_readable(self._engine)
        except DatabaseUnfit as error:
            return {}, str(error)
        return await JournalReader(self._engine).last_changes(table.identity, workflow_id), None

    def lease(self, table_name: str, namespace: str, holder: str, of: str = "") -> Lease:
        """The lease on the table, or for `of`, another kind of pass, for the process `holder`."""
        return PostgresLease(self._engine, lease_name(table_name, of), namespace, holder)


class Unjournalled:
    """Without reconciler's schema: the role needs rights on the application's table only."""

    journals = False

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine, self._ruled_out = engine, RuledOut()

    async def check(self, *, looping: bool) -> None:
        """Nothing to check."""

    def store(self, table: MappedTable, window: Window = EVERY) -> PostgresStore:
        """A store that does not journal."""
        ruled_out = self._ruled_out
        return PostgresStore(self._engine, table, window, journalled=False, ruled_out=ruled_out)

    def history(self, table_name: str, namespace: str, statuses: StatusValues) -> History:  # noqa: ARG002
        """The passes of this process only."""
        return NoHistory(self._engine)

    def pruning(self, table_name: str, namespace: str, kept: timedelta) -> Sequence[Observer]:  # noqa: ARG002
        """Nothing to remove."""
        return []

    async def last_changes(
        self,
        table: MappedTable,  # noqa: ARG002
        workflow_id: str,  # noqa: ARG002
    ) -> tuple[Mapping[str, StoredChange], str | None]:
        """No change is known."""
        return {}, "RECONCILER_JOURNAL is off"

    def lease(self, table_name: str, namespace: str, holder: str, of: str = "") -> Lease:  # noqa: ARG002
        """A lease that every replica holds."""
        return NoLease()


Bookkeeping: TypeAlias = Journalled | Unjournalled


def bookkeeping(engine: AsyncEngine, *, journal: bool) -> Bookkeeping:
    """The records of passes, with or without a journal."""
    return Journalled(engine) if journal else Unjournalled(engine)
