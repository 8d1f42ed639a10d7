"""The database side: the guarded write of a batch, beside the describes that it waits for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from uuid import uuid4

from benchmarks.figures import Figure, Result, at_least
from benchmarks.prepared import Prepared
from benchmarks.sizes import Sizes
from benchmarks.stage import fill, leave_out_the_benchmark, set_running
from benchmarks.workflows import Run
from reconciler.core.model import Outcome, RunRow
from reconciler.core.policy import StatusValues
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.journal.history import PassHistory
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import map_table
from reconciler.postgres.table.names import TableMapping

BATCH = 500
_END = datetime.now(UTC) - timedelta(days=1)

_METHOD = (
    "{batches} batches of 500 rows, all of them failed with a text, through the store of a pass. "
    "The ceiling is the rate of the describes in this run: a pass writes no faster than Temporal "
    "answers."
)


async def measure(prepared: Prepared) -> Result:
    """Rows written per second, with and without a journal, beside the ceiling."""
    sizes, ceiling = prepared.sizes, prepared.ceiling.per_second
    url = await prepared.stage.database("writes")
    await fill(url, [Run(f"order-{n}", str(uuid4())) for n in range(sizes.batches * BATCH)])
    figures = []
    for journalled, name in ((True, "journalled write"), (False, "write without a journal")):
        rate = median(await _rates(url, sizes, journalled=journalled))
        compared = "the ceiling of the describes"
        figures.append(Figure(name, rate, "rows/s", rate / ceiling, compared, at_least(10, "×")))
    return Result("The database side", _METHOD.format(batches=sizes.batches), figures)


async def _rates(url: str, sizes: Sizes, *, journalled: bool) -> Sequence[float]:
    """Rows per second of each batch; the first batch prepares the store and does not count."""
    rates: list[float] = []
    await set_running(url)
    async with using_engine(url) as engine:
        table = await map_table(engine, TableMapping(), writing=True)
        history = PassHistory(engine, table.full_name, "default", StatusValues())
        report = PassReport(str(uuid4()), PassRequest("once"), started_at=_END)
        await history.begin(report)
        store = PostgresStore(engine, table, journalled=journalled)
        batches = await _read(store)
        await store.finish_if_running(report.pass_id, batches[0])
        leave_out_the_benchmark()
        for _ in range(sizes.rounds):
            await set_running(url)
            for outcomes in batches:
                started = time.perf_counter()
                written = await store.finish_if_running(report.pass_id, outcomes)
                rates.append(BATCH / (time.perf_counter() - started))
                assert len(written.ids) == BATCH
    return rates


async def _read(store: PostgresStore) -> Sequence[Sequence[Outcome]]:
    """All rows in batches, each to be failed."""
    until, after = await store.last_running(), None
    batches: list[Sequence[Outcome]] = []
    assert until is not None
    while rows := await store.scan_running(after, until, BATCH):
        after = rows[-1].id
        batches.append([_outcome(row) for row in rows])
    return batches


def _outcome(row: RunRow) -> Outcome:
    return Outcome(row, "failed", _END, "OrderFailed: card declined", "FAILED", row.run_id)
