"""A Temporal that answers immediately, so that only the reconciler is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg

from reconciler.core.model import (
    Closed,
    CloseStatus,
    Missing,
    Observation,
    Open,
    RunRow,
    Unknown,
    Use,
)
from reconciler.core.policy import MissingPolicy, Policy, StatusValues
from reconciler.core.ports import Ending, Observing
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassOptions, PassRequest
from reconciler.passes.log import PassLog
from reconciler.passes.reconcile import run_pass
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.journal.history import PassHistory
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import map_table
from reconciler.postgres.table.names import TableMapping

_NOW = datetime.now(UTC)
_END = _NOW - timedelta(days=1)
#: Answers about a row.
COMPLETED = Closed(CloseStatus.COMPLETED, _END, "run", None, "Order")
FAILED = Closed(CloseStatus.FAILED, _END, "run", "OrderFailed: card declined", "Order")


class ScriptedProbe:
    """Of ten rows, four have completed, two have failed, one is open, three are missing."""

    #: By the last digits of the id.
    ANSWERS: Sequence[Observation] = (*[COMPLETED] * 4, *[FAILED] * 2, Open(), *[Missing()] * 3)

    async def retention(self) -> timedelta:
        return timedelta(days=30)

    async def observe(self, row: RunRow) -> Observation:
        return self.ANSWERS[int(str(row.id)) % len(self.ANSWERS)]

    def together(self, rows: Sequence[RunRow]) -> Observing:  # noqa: ARG002
        return self

    async def screen(
        self,
        rows: Sequence[RunRow],
        saving: float = 1.0,  # noqa: ARG002
    ) -> Sequence[bool | None]:
        return [None] * len(rows)

    async def other_uses(self, endings: Sequence[Ending]) -> Sequence[Sequence[Use] | Unknown]:
        return [()] * len(endings)

    def namespace_id(self, row: RunRow) -> str:  # noqa: ARG002
        return "ns"

    def rpcs(self) -> Mapping[str, int]:
        return {}


async def fill_stale(url: str, rows: int) -> None:
    """Fill the table with stale rows, a year old."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO workflow_executions (workflow_id, run_id, created_at)"
        " SELECT 'order-' || n, gen_random_uuid(), now() - interval '1 year'"
        f" FROM generate_series(1, {rows}) n"
    )
    await connection.execute("VACUUM ANALYZE workflow_executions")
    await connection.close()


async def scripted_backfill(url: str) -> PassReport:
    """Run the pass of a backfill that fails missing rows."""
    async with using_engine(url) as engine:
        table = await map_table(engine, TableMapping(), writing=True)
        store = PostgresStore(engine, table)
        names = table.mapping.names.full_name
        history = PassHistory(engine, names, "default", StatusValues())
        report = PassReport.begin(PassRequest("backfill", asked={}), _NOW)
        policy = Policy(retention=timedelta(days=30), missing=MissingPolicy.FAIL)
        log, probe = PassLog(each_row=False), ScriptedProbe()
        await run_pass(store, probe, history, [], policy, PassOptions(), _NOW, report, log)
    assert report.error is None, report.error
    return report
