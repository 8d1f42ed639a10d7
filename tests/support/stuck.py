"""Stuck rows and rows at risk, and their entries in a database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from reconciler.core.model import RowId
from reconciler.core.stuck.condition import Reason, RowAtRisk, StuckRow
from reconciler.postgres.journal.stuck.reader import StuckReader
from reconciler.postgres.journal.stuck.record import PostgresStuckRows
from reconciler.postgres.table.mapping import MappedTable
from tests.conftest import Database
from tests.support.factories import NOW

HOUR = timedelta(hours=1)
SINCE = NOW - 3 * HOUR


def stuck_row(row_id: RowId = 1, **fields: Any) -> StuckRow:
    given: dict[str, Any] = {
        "workflow_id": f"wf-{row_id}",
        "run_id": "run-last",
        "workflow_type": "Order",
        "reason": Reason.ACTIVITY_RETRYING,
        "text": f"charge: card {row_id} declined (attempt 7)",
        "cause": "charge: card N declined",
        "since": SINCE,
        "seen": NOW,
    }
    return StuckRow(row_id=row_id, **{**given, **fields})


def stuck_for(hours: int = 1, **fields: Any) -> StuckRow:
    """Its id is the number of hours."""
    return stuck_row(hours, **{"since": NOW - hours * HOUR, **fields})


def row_at_risk(row_id: RowId = 1, **fields: Any) -> RowAtRisk:
    given: dict[str, Any] = {
        "workflow_id": f"wf-{row_id}",
        "reason": "never_started",
        "text": "no such workflow",
        "since": SINCE,
        "seen": NOW,
        "lost_at": NOW + timedelta(days=1),
    }
    return RowAtRisk(row_id=row_id, **{**given, **fields})


class Entries(PostgresStuckRows):
    """The entries of one configuration, written and read."""

    def __init__(self, database: Database, table: MappedTable, namespace: str = "default") -> None:
        async def mapped() -> MappedTable:
            return table

        super().__init__(database.engine, mapped, namespace)
        self.shown = StuckReader(database.engine, table, namespace)

    @classmethod
    async def of(cls, database: Database, *mapping: Any) -> Entries:
        """Those of a mapping: the arguments are those of `TableMapping`."""
        return cls(database, await database.table(*mapping))
