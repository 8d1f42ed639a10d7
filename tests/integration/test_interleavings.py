"""The row ends as Temporal says, in whatever order the main path, passes and crashes happen.

Two passes run on a real PostgreSQL, one step at a time, in an order that Hypothesis chooses. Each
may be killed between any two steps, the main path may write its end, the workflow may end, or the
application may reuse the row. At the end the row says what Temporal says, and was written once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from reconciler.core.model import (
    Closed,
    CloseStatus,
    Observation,
    Open,
    Outcome,
    Rival,
    RowId,
    RunRow,
    Unknown,
    Use,
)
from reconciler.core.ports import Ending, Observing, Reach, Written
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassOptions, PassRequest
from reconciler.core.report.sweep import Rest
from reconciler.passes.reconcile import run_pass
from reconciler.postgres.rows.store import PostgresStore
from tests.conftest import Database, opened
from tests.support.factories import RETENTION, policy
from tests.support.polling import deadline, eventually
from tests.support.properties import examples
from tests.support.servers.lending import Lending

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
# A pass takes about six steps, so several are drawn at a time.
PASS_STEPS = st.builds(
    lambda name, count: [f"pass {name}"] * count, st.sampled_from("AB"), st.integers(1, 6)
)
OTHER_STEPS = st.sampled_from(
    [["kill A"], ["kill B"], ["workflow ends"], ["main path"], ["starts again"]]
)
STEPS = st.lists(PASS_STEPS | OTHER_STEPS, max_size=12).map(
    lambda parts: list(chain.from_iterable(parts))
)


@dataclass
class Truth:
    """What Temporal says: one chain per run id, each open or closed."""

    run: int = 1
    ends: dict[str, Closed] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        return f"run-{self.run}"

    def end(self) -> None:
        status = CloseStatus.FAILED if self.run % 2 else CloseStatus.COMPLETED
        failure = f"boom {self.run}" if status is CloseStatus.FAILED else None
        close_time = START + timedelta(seconds=self.run)
        self.ends.setdefault(self.run_id, Closed(status, close_time, self.run_id, failure))

    def says(self, run_id: str | None) -> Observation:
        return self.ends.get(run_id or "", Open())


class Gate:
    """Lets a pass make one step at a time."""

    def __init__(self) -> None:
        self._permits = asyncio.Semaphore(0)
        #: The number of permitted steps that have not begun, and of tasks waiting for one.
        self._opened = self._waiting = 0
        self._news = asyncio.Event()

    async def step(self) -> None:
        self._waiting += 1
        self._news.set()
        try:
            await self._permits.acquire()
            self._opened -= 1
        finally:
            self._waiting -= 1

    def open(self) -> None:
        self._opened += 1
        self._permits.release()

    async def reached(self) -> None:
        """Wait until the pass has made its step, and waits for the next one."""
        while self._opened or not self._waiting:
            self._news.clear()
            await self._news.wait()


class GatedStore:
    """The real store, with a step before and after every statement."""

    def __init__(self, store: PostgresStore, gate: Gate) -> None:
        self._store, self._gate = store, gate

    async def last_running(self) -> RowId | None:
        await self._gate.step()
        return await self._store.last_running()

    async def scan_running(self, after: RowId | None, until: RowId, limit: int) -> Sequence[RunRow]:
        await self._gate.step()
        return await self._store.scan_running(after, until, limit)

    async def reach(self, after: RowId | None, until: RowId, rows: int) -> Reach:
        await self._gate.step()
        return await self._store.reach(after, until, rows)

    async def read_rest(self, recorded: Rest) -> Rest | None:
        await self._gate.step()
        return await self._store.read_rest(recorded)

    async def rivals(self, endings: Sequence[Ending]) -> Sequence[Sequence[Rival]] | Unknown:
        await self._gate.step()
        return await self._store.rivals(endings)

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        await self._gate.step()
        written = await self._store.finish_if_running(pass_id, outcomes)
        await self._gate.step()
        return written


class GatedProbe:
    def __init__(self, truth: Truth, gate: Gate) -> None:
        self._truth, self._gate = truth, gate

    async def observe(self, row: RunRow) -> Observation:
        observation = self._truth.says(row.run_id)
        await self._gate.step()  # whatever happens now, the pass already has its answer
        return observation

    def together(self, rows: Sequence[RunRow]) -> Observing:
        return self

    async def screen(self, rows: Sequence[RunRow], saving: float = 1.0) -> Sequence[bool | None]:
        return [None] * len(rows)

    async def other_uses(self, endings: Sequence[Ending]) -> Sequence[Sequence[Use] | Unknown]:
        return [()] * len(endings)

    async def retention(self) -> timedelta:
        return RETENTION

    def namespace_id(self, row: RunRow) -> str:
        return "ns"

    def rpcs(self) -> Mapping[str, int]:
        return {}


class World:
    """One row, what Temporal says about it, and everything that may write it."""

    def __init__(self, database: Database, store: PostgresStore, row_id: int) -> None:
        self.database, self.store, self.row_id = database, store, row_id
        self.truth = Truth()
        self.written_by_main_path: list[str] = []
        self.passes: dict[str, tuple[asyncio.Task[object], Gate]] = {}

    async def act(self, step: str) -> None:
        match step.split():
            case ["pass", name]:
                await self.advance(name)
            case ["kill", name]:
                await self.kill(name)
            case ["workflow", "ends"]:
                self.truth.end()
            case ["main", "path"]:
                await self.main_path()
            case ["starts", "again"]:
                await self.start_again()

    async def advance(self, name: str) -> None:
        if name not in self.passes or self.passes[name][0].done():
            gate = Gate()
            self.passes[name] = (asyncio.create_task(self.run_pass(gate)), gate)
        task, gate = self.passes[name]
        gate.open()
        await settled(task, gate)

    async def kill(self, name: str) -> None:
        if name in self.passes:
            task, _ = self.passes.pop(name)
            while not task.done():  # a pass finishes its current write first
                task.cancel()
                await asyncio.sleep(0)

    async def run_pass(self, gate: Gate | None = None) -> object:
        free = Gate()
        if gate is None:
            for _ in range(100):
                free.open()
        return await run_pass(
            GatedStore(self.store, gate or free),
            GatedProbe(self.truth, gate or free),
            self.database.history(),
            [],
            policy(),
            PassOptions(),
            START,
            PassReport.begin(PassRequest("once"), START),
        )

    async def main_path(self) -> None:
        """What the workflow's last activity does, with the same guard as a pass."""
        if not isinstance(end := self.truth.says(self.truth.run_id), Closed):
            return
        rows = await self.database.fetch(
            "UPDATE workflow_executions SET status = $2, completed_at = $3, error_message = $4"
            " WHERE id = $1 AND status = 'running' AND run_id = $5 RETURNING id",
            self.row_id,
            "failed" if end.failure else "completed",
            end.close_time,
            end.failure,
            self.truth.run_id,
        )
        self.written_by_main_path += [self.truth.run_id] * len(rows)

    async def start_again(self) -> None:
        """The application reuses the row for a new execution, however the old one ended."""
        self.truth.run += 1
        await self.database.execute(
            "UPDATE workflow_executions SET status = 'running', run_id = $2, completed_at = NULL,"
            " error_message = NULL WHERE id = $1",
            self.row_id,
            self.truth.run_id,
        )

    async def close(self) -> None:
        for name in list(self.passes):
            await self.kill(name)


async def settled(task: asyncio.Task[object], gate: Gate) -> None:
    """Wait until the pass reaches its next step, or ends."""
    next_step = asyncio.create_task(gate.reached())
    async with deadline():
        await asyncio.wait({task, next_step}, return_when=asyncio.FIRST_COMPLETED)
    next_step.cancel()


@dataclass
class Shared:
    """One database for all examples; each has its own row."""

    database: Database
    store: PostgresStore


@pytest.fixture(scope="module")
async def shared(lending: Lending) -> AsyncIterator[Shared]:
    async with lending.lend() as url, opened(url) as database:
        yield Shared(database, PostgresStore(database.engine, await database.table()))


@pytest.mark.long
@settings(
    examples(40),
    # Shrinking would take minutes, and add little.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
# The row is observed and about to be written when it is finished, or reused, by others.
@example(steps=["workflow ends", *["pass A"] * 4, "main path", *["pass A"] * 4])
@example(steps=["workflow ends", *["pass A"] * 3, "starts again", *["pass A"] * 4])
@example(steps=["workflow ends", *["pass A"] * 5, "starts again", *["pass A"] * 4])
async def test_the_row_ends_as_temporal_says_and_is_written_once(
    shared: Shared, steps: list[str]
) -> None:
    database = shared.database
    await database.execute(
        "DELETE FROM workflow_executions; DELETE FROM reconciler.changes;"
        " DELETE FROM reconciler.passes"
    )
    row_id = await database.insert("wf", "run-1", created_at=START - timedelta(hours=1))
    world = World(database, shared.store, row_id)
    try:
        for step in steps:
            await world.act(step)
    finally:
        await world.close()
    world.truth.end()
    await world.run_pass()

    end = world.truth.says(world.truth.run_id)
    assert isinstance(end, Closed)
    row = await database.row(row_id)
    assert row["status"] == ("failed" if end.failure else "completed")
    assert row["completed_at"] == end.close_time
    assert row["error_message"] == end.failure
    await assert_written_once(database, world)


async def assert_written_once(database: Database, world: World) -> None:
    journal = await database.fetch("SELECT * FROM reconciler.changes ORDER BY id")
    runs = [str(change["run_id"]) for change in journal] + world.written_by_main_path
    assert len(runs) == len(set(runs)), "a run's end was written twice"
    assert world.truth.run_id in runs
    for change in journal:
        end = world.truth.ends[str(change["run_id"])]
        assert change["old_status"] == "running"
        assert change["close_time"] == end.close_time
        assert change["new_error_message"] == end.failure


async def test_two_passes_at_once_write_each_row_once(database: Database) -> None:
    truth = Truth()
    truth.end()
    for number in range(300):
        await database.insert(f"wf-{number}", "run-1", created_at=START - timedelta(hours=1))
    store = PostgresStore(database.engine, await database.table())

    async def one_pass() -> int:
        gate, now = Gate(), datetime.now(UTC)
        for _ in range(10_000):
            gate.open()
        report = await run_pass(
            store,
            GatedProbe(truth, gate),
            database.history(),
            [],
            policy(),
            PassOptions(batch_size=20),
            now,
            PassReport.begin(PassRequest("once"), now),
        )
        assert report.error is None
        assert report.tally.scanned == report.changed + report.tally.lost_races
        return report.changed

    written = await asyncio.gather(one_pass(), one_pass())

    assert sum(written) == 300
    (counts,) = await database.fetch(
        "SELECT count(*) AS changes, count(DISTINCT row_id) AS rows FROM reconciler.changes"
    )
    assert counts == {"changes": 300, "rows": 300}


async def test_a_killed_pass_leaves_whole_batches(database: Database) -> None:
    """As on SIGKILL, PostgreSQL sees the connection close, and rolls the transaction back."""
    truth = Truth()
    truth.end()
    await database.insert("wf", "run-1")
    lock = await asyncpg.connect(database.url)
    await lock.execute("BEGIN; LOCK TABLE reconciler.changes")
    store = PostgresStore(database.engine, await database.table())
    (row,) = await store.scan_running(None, await store.last_running() or 0, 10)
    history = database.history()
    gate = Gate()
    for _ in range(100):
        gate.open()
    passing = run_pass(
        store,
        GatedProbe(truth, gate),
        history,
        [],
        policy(),
        PassOptions(),
        START,
        PassReport.begin(PassRequest("once"), START),
    )
    writing = asyncio.create_task(passing)
    try:
        await _blocked(database)
        await database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND query LIKE '%locked%' AND pid <> pg_backend_pid()"
        )
        report = await writing
    finally:
        await lock.close()

    assert report.error is not None
    assert (await database.row(int(str(row.id))))["status"] == "running"
    assert await database.fetch("SELECT 1 FROM reconciler.changes") == []


async def _blocked(database: Database) -> None:
    async def waits() -> bool:
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND query LIKE '%locked%' AND pid <> pg_backend_pid()"
        )
        return bool(await database.fetch(waiting))

    await eventually(waits)
