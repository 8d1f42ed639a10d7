"""The database side: the guarded write of a batch beside the same statement in bare asyncpg."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from uuid import uuid4

import asyncpg

from benchmarks.closed import paired
from benchmarks.figures import Figure, Result, at_least
from benchmarks.prepared import Prepared
from benchmarks.sizes import Sizes
from benchmarks.stage import fill, leave_out_the_benchmark, set_running
from benchmarks.statements import Statement, watched
from benchmarks.workflows import Run
from reconciler.core.model import Outcome, RunRow
from reconciler.core.report import PassReport
from reconciler.core.request import PassRequest
from reconciler.core.verdict import StatusValues
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.journal.history import PassHistory
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import map_table
from reconciler.postgres.table.names import TableMapping

BATCH = 500
_END = datetime.now(UTC) - timedelta(days=1)

_METHOD = (
    "{batches} batches of 500 rows, all of them failed with a text, through the store of a pass; "
    "and the very same statements, with the same arguments, in bare asyncpg: prepared once, in a "
    "transaction each. Every batch is written in both ways, in turn. The ceiling is that of the "
    "describes in this run."
)


@dataclass(frozen=True, slots=True)
class _Batches:
    """The same batches, as the pass has them and as the driver got them."""

    store: PostgresStore
    pass_id: str
    outcomes: Sequence[Sequence[Outcome]]
    written: Sequence[Statement]


async def measure(prepared: Prepared) -> Result:
    """Rows written per second, beside the bare statement and beside the describes."""
    sizes = prepared.sizes
    url = await prepared.stage.database("writes")
    await fill(url, [Run(f"order-{n}", str(uuid4())) for n in range(sizes.batches * BATCH)])
    figures: list[Figure] = []
    for journalled in (True, False):
        name = "journalled write" if journalled else "write without a journal"
        bare, ours = await _measure(url, sizes, journalled=journalled)
        ratio = paired(ours, bare)
        figures += [
            Figure(f"{name}, bare asyncpg", median(bare), "rows/s"),
            Figure(
                f"{name}, ours",
                median(ours),
                "rows/s",
                ratio,
                "of bare asyncpg",
                at_least(0.8, "×"),
            ),
        ]
    ours_rate = figures[1].value
    times = Figure(
        "journalled write, and the describes",
        ours_rate,
        "rows/s",
        ours_rate / prepared.ceiling.per_second,
        "the ceiling of the describes",
        at_least(10, "×"),
    )
    return Result("The database side", _METHOD.format(batches=sizes.batches), [*figures, times])


async def _measure(
    url: str, sizes: Sizes, *, journalled: bool
) -> tuple[Sequence[float], Sequence[float]]:
    """Rows per second of the bare statement and of ours, in pairs."""
    await set_running(url)
    async with using_engine(url) as engine:
        statements: list[Statement] = []
        with watched(statements.append):
            table = await map_table(engine, TableMapping(), writing=True)
            names = table.mapping.names.full_name
            history = PassHistory(engine, names, "default", StatusValues())
            report = PassReport(str(uuid4()), PassRequest("once"), started_at=_END)
            await history.begin(report)
            store = PostgresStore(engine, table, journalled=journalled)
            outcomes = await _read(store)
            statements.clear()
            for batch in outcomes:
                await store.finish_if_running(report.pass_id, batch)
            writes = [each for each in statements if each.kind == "a batch's write"]
            await engine.dispose()
        assert len(writes) == len(outcomes)
        batches = _Batches(store, report.pass_id, outcomes, writes)
        return await _in_turn(url, batches, rounds=sizes.rounds)


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


async def _in_turn(
    url: str, batches: _Batches, rounds: int
) -> tuple[Sequence[float], Sequence[float]]:
    bare: list[float] = []
    ours: list[float] = []
    connection = await asyncpg.connect(url)
    prepared = await connection.prepare(batches.written[0].query)
    pairs = list(zip(batches.outcomes, batches.written, strict=True))
    leave_out_the_benchmark()
    for parity in range(rounds + rounds % 2):  # each batch in both ways, equally often
        await set_running(url)
        for number, (outcomes, statement) in enumerate(pairs):
            started = time.perf_counter()
            if number % 2 == parity % 2:
                written = await batches.store.finish_if_running(batches.pass_id, outcomes)
                count = len(written.ids)
            else:
                async with connection.transaction():
                    (done,) = await prepared.fetch(*statement.arguments)
                count = len(done["numbers"])
            rate = BATCH / (time.perf_counter() - started)
            assert count == BATCH
            (ours if number % 2 == parity % 2 else bare).append(rate)
    await connection.close()
    return bare, ours
