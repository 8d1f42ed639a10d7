"""More workers, each with a share of a rate that grows with their number."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from statistics import median

from benchmarks import passes
from benchmarks.figures import Figure, Result, at_least
from benchmarks.fleet.workers import working
from benchmarks.prepared import Prepared
from benchmarks.stage import Stage, fill
from benchmarks.workflows import Run

#: Calls a second of each worker: four of them do not fill two cores, nor does the server.
EACH = 60
WORKERS = (1, 2, 4)
#: Rows of a range. With the default, 10,000, a range would take minutes at this rate.
RANGE_ROWS = 300
#: Rows of a page: a range has several, of which one is asked about while another is written.
BATCH = 50

_METHOD = (
    "Rows of completed workflows, one call each: {rows:,} for each worker. *One process* is "
    "`backfill --apply --restart` with `RECONCILER_MAX_RPS={each}`. *W workers* are as many "
    "processes of `reconciler worker --ranges 1`, and a workflow as `--distribute W` starts it, "
    "with `RECONCILER_MAX_RPS` of W × {each}: so ideally they take as long for W times the rows. "
    "Ranges have {range_rows} rows, not 10,000, so that every worker has {ranges} of them, and "
    "what comes between two ranges happens 33 times as often; pages have {batch}, not 500. The "
    "time of a workflow is from its start until its result is known, with counting, cutting and "
    "the report; that of the one process is its pass alone. Medians of {rounds} rounds, in each of "
    "which one process is measured before and after the workers."
)


async def measure(prepared: Prepared) -> Result:
    """Compare workers with as many times one process."""
    sizes, stage = prepared.sizes, prepared.stage
    alone: list[float] = []
    together: dict[int, list[float]] = {count: [] for count in WORKERS}
    efficiency: dict[int, list[float]] = {count: [] for count in WORKERS}
    for number in range(sizes.fleet_rounds):
        rounds = _Round(stage, prepared.completed, sizes.fleet_rows, number)
        before = await rounds.one_process("before")
        rates = {count: await rounds.workers(count) for count in WORKERS}
        one = (before + await rounds.one_process("after")) / 2
        alone.append(one)
        for count, rate in rates.items():
            together[count].append(rate)
            efficiency[count].append(rate / (count * one))
    figures = [Figure("one process", median(alone), "rows/s")]
    for count in WORKERS:
        name = f"{count} worker{'s' if count > 1 else ''}"
        compared = f"of {count} × one process" if count > 1 else "of one process"
        rate, ratio = median(together[count]), median(efficiency[count])
        figures.append(Figure(name, rate, "rows/s", ratio, compared, at_least(0.9, "×")))
    method = _METHOD.format(
        rows=sizes.fleet_rows,
        each=EACH,
        range_rows=RANGE_ROWS,
        batch=BATCH,
        ranges=sizes.fleet_rows // RANGE_ROWS,
        rounds=sizes.fleet_rounds,
    )
    return Result("A backfill by several workers", method, figures)


class _Round:
    def __init__(self, stage: Stage, runs: Sequence[Run], rows: int, number: int) -> None:
        self._stage, self._runs, self._rows, self._number = stage, runs, rows, number

    async def one_process(self, when: str) -> float:
        """Rows a second."""
        url = await self._filled(when, 1)
        report = await passes.backfill(url, max_rps=EACH, batch_size=BATCH)
        assert report.changed == self._rows
        return self._rows / report.duration_seconds

    async def workers(self, count: int) -> float:
        """Rows a second."""
        url = await self._filled(str(count), count)
        async with working(url, count, max_rps=EACH * count, batch_size=BATCH) as workers:
            result, seconds = await workers.backfill(RANGE_ROWS)
        rows = self._rows * count
        assert result.error is None, result.error
        assert result.totals.done["written"] == {"completed": rows}
        return rows / seconds

    async def _filled(self, name: str, share: int) -> str:
        url = await self._stage.database(f"fleet_{self._number}_{name}")
        await fill(url, list(islice(cycle(self._runs), self._rows * share)))
        return url
