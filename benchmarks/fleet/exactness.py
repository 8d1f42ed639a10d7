"""Millions of rows by two workers: memory, and whether every row is counted and written once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from benchmarks.figures import Figure, Result, at_most
from benchmarks.fleet.scripted_worker import MISSING, FleetProbe
from benchmarks.fleet.workers import working
from benchmarks.prepared import Prepared
from reconciler.core.model import Closed
from reconciler.fleet import messages
from reconciler.fleet.cutting import LEAST_PER_WORKER
from reconciler.fleet.messages import RANGE_ROWS

WORKERS = 2
#: One thousand of each hundred thousand rows are missing: the first of the table, in whole pages.
#: So a second sweep asks about no other row.
OF, MISSING_ROWS = 100_000, 1_000

_ROWS = (
    "INSERT INTO workflow_executions (workflow_id, run_id, created_at)"
    " SELECT CASE WHEN n <= {missing} THEN '{prefix}-' ELSE 'order-' END || n,"
    " md5(n::text)::uuid, now() - interval '1 year' FROM generate_series(1, {rows}) n"
)
_WRITTEN = (
    "SELECT (SELECT count(*) FROM reconciler.changes) AS changes,"
    " (SELECT count(DISTINCT row_id) FROM reconciler.changes) AS changed,"
    " (SELECT count(*) FROM workflow_executions WHERE status <> 'running') AS finished"
)

_METHOD = (
    "{rows:,} rows in PostgreSQL; {workers} processes of `reconciler worker --ranges 1`, without a "
    "rate limit, and the true workflow on the dev server, with the default of {range_rows:,} rows "
    "a range. Only what the workers ask about rows is scripted, within their processes: they get "
    "the answer at once. Of a thousand rows eight have completed, two have failed, and all others "
    "are open; the first {missing:,} are missing, and the second sweep fails them. So {written:,} "
    "rows have to be written, {calls:,} questions asked, and {ranges:,} ranges counted: "
    "*differences* are from these numbers, and between the report, the journal and the table. "
    "Memory is the maximum of each process from its start, without grpcio, which only developers "
    "have."
)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a backfill of this many rows has to count."""

    rows: int

    @property
    def missing(self) -> int:
        """The first rows of the table."""
        return self.rows // OF * MISSING_ROWS

    @property
    def written(self) -> int:
        """Those that are missing; of the others, those that have ended."""
        answers = FleetProbe.ANSWERS
        ended = sum(isinstance(each, Closed) for each in answers)
        return self.missing + (self.rows - self.missing) // len(answers) * ended

    @property
    def calls(self) -> int:
        """One for each row, and another for each that gets a second look."""
        return self.rows + self.missing

    @property
    def ranges(self) -> int:
        """Those of both sweeps: of the usual size, but as many as the workers need at least."""
        return sum(
            max(math.ceil(rows / RANGE_ROWS), LEAST_PER_WORKER * WORKERS)
            for rows in (self.rows, self.missing)
        )


async def measure(prepared: Prepared) -> Result:
    """Measure speed and memory, and count what was done twice, or not at all."""
    expected = Expected(prepared.sizes.fleet_scripted)
    url = await prepared.stage.database("fleet_scripted")
    await _fill(url, expected)
    program = "benchmarks.fleet.scripted_worker"
    async with working(url, WORKERS, program, missing="fail", max_rps=0) as workers:
        result, seconds = await workers.backfill()
        peak = max(workers.peaks_mb)
    assert result.error is None, result.error
    figures = [
        Figure("speed of both", expected.rows / seconds, "rows/s"),
        Figure("a worker: resident memory at most", peak, "MB", goal=at_most(120, "MB")),
        *await _differences(url, expected, result),
    ]
    method = _METHOD.format(
        workers=WORKERS,
        range_rows=RANGE_ROWS,
        rows=expected.rows,
        missing=expected.missing,
        written=expected.written,
        calls=expected.calls,
        ranges=expected.ranges,
    )
    return Result(f"A backfill of {expected.rows:,} rows by {WORKERS} workers", method, figures)


async def _fill(url: str, expected: Expected) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        _ROWS.format(missing=expected.missing, prefix=MISSING, rows=expected.rows)
    )
    await connection.execute("VACUUM ANALYZE workflow_executions")
    await connection.close()


async def _differences(url: str, expected: Expected, result: messages.Result) -> Sequence[Figure]:
    connection = await asyncpg.connect(url)
    changes, changed, finished = await connection.fetchrow(_WRITTEN)
    await connection.close()
    report = result.report
    written = [changes, changed, finished, sum(report["written"].values())]
    found = {
        "rows journalled twice": changes - changed,
        "rows written: differences": max(abs(each - expected.written) for each in written),
        "rows counted: difference": abs(report["scanned"] - expected.rows),
        "questions: difference": abs(report["rpcs"]["describe"] - expected.calls),
        "ranges counted: difference": abs(result.totals.ranges - expected.ranges),
    }
    return [Figure(name, count, "", goal=at_most(0)) for name, count in found.items()]
