"""The main path: the activity that finishes one row, compared with one written by hand."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from statistics import median
from uuid import uuid4

import asyncpg
from temporalio.testing import ActivityEnvironment

from benchmarks.application import application_engine, hand_written_activity
from benchmarks.figures import Figure, Result, at_least, at_most
from benchmarks.prepared import Prepared
from benchmarks.stage import fill, set_running
from benchmarks.statements import FRAME, Statement, watched
from benchmarks.workflows import Run
from reconciler.worker.activity import StatusActivity

#: Rows in the table; only the first ones are finished.
TABLE = 20_000

_METHOD = (
    "One row after the other, {rows:,} of {table:,}, found by an index on the workflow id. *By "
    "hand*: SELECT with SQLAlchemy's ORM, change the object, commit, on a pooled engine with its "
    "defaults. *The activity* runs with a connection of its own (`DATABASE_URL`), and with that "
    "same engine. All of them run in the SDK's `ActivityEnvironment`, in turn, row by row. "
    "*Statements* are what the driver sends, without BEGIN, COMMIT and the pool's ping."
)
_PING = ";"

_Finish = Callable[[Run], Awaitable[object]]


async def measure(prepared: Prepared) -> Result:
    """Measure rows finished per second, and statements per row."""
    rows = prepared.sizes.main_path
    url = await prepared.stage.database("main_path")
    runs = [Run(f"order-{n}", str(uuid4())) for n in range(TABLE)]
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE INDEX ON workflow_executions (workflow_id)")
    await connection.close()
    await fill(url, runs)
    os.environ["DATABASE_URL"] = url
    async with application_engine(url) as engine:
        own, borrowed = StatusActivity(), StatusActivity(engine)
        by_hand = hand_written_activity(engine)
        environment = ActivityEnvironment()
        ways: dict[str, _Finish] = {
            "by hand": lambda run: environment.run(by_hand, run.workflow_id, "completed"),
            "the activity, its own connection": _finishing(environment, own),
            "the activity, the application's engine": _finishing(environment, borrowed),
        }
        statements = await _statements(ways, runs[-10:])
        rates = await _in_turn(url, ways, runs[:rows])
        await own.close()
    method = _METHOD.format(rows=rows, table=TABLE)
    return Result("The main path", method, _figures(rates, statements))


def _finishing(environment: ActivityEnvironment, status: StatusActivity) -> _Finish:
    activity, now = status.update_workflow_execution_status, datetime.now(UTC)

    async def finish(run: Run) -> None:
        given = run.workflow_id, "completed", None, run.run_id, now, now
        assert await environment.run(activity, *given)

    return finish


async def _statements(ways: dict[str, _Finish], runs: Sequence[Run]) -> dict[str, float]:
    """Statements that each way sends for one row, not counting those it sends only once."""
    seen: list[Statement] = []
    counts: dict[str, float] = {}
    with watched(seen.append):
        for name, finish in ways.items():
            for _ in range(2):
                seen.clear()
                runs, run = runs[:-1], runs[-1]
                await finish(run)
            counts[name] = sum(map(_counts, seen))
            assert counts[name], f"no statement of {name} was seen"
    return counts


def _counts(statement: Statement) -> bool:
    return not statement.query.startswith((*FRAME, _PING))


async def _in_turn(
    url: str, ways: dict[str, _Finish], runs: Sequence[Run]
) -> dict[str, list[float]]:
    """Rows per second; the ways take turns, and each finishes every row once."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for shift in range(len(names)):
        await set_running(url)
        for number, run in enumerate(runs):
            name = names[(number + shift) % len(names)]
            started = time.perf_counter()
            await ways[name](run)
            rates[name].append(1 / (time.perf_counter() - started))
    return rates


def _figures(rates: dict[str, list[float]], statements: dict[str, float]) -> Sequence[Figure]:
    by_hand, *others = rates
    reference = median(rates[by_hand])
    figures = [
        Figure(by_hand, reference, "rows/s"),
        Figure(f"{by_hand}, statements", statements[by_hand], ""),
    ]
    for name in others:
        rate = median(rates[name])
        figures += [
            Figure(name, rate, "rows/s", rate / reference, "of by hand", at_least(1.5, "×")),
            Figure(f"{name}, statements", statements[name], "", goal=at_most(1)),
        ]
    return figures
