"""What every `Store` promises, over the fake and over PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import uuid4

import pytest

from reconciler.core.model import RowId, RunRow, Unknown
from reconciler.core.ports import Ending, Reach, Store, Written
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.core.report.sweep import Rest
from reconciler.postgres.rows.store import PostgresStore
from tests.conftest import Database
from tests.support.factories import NOW, chain, outcome
from tests.support.fakes import MemoryStore

PASS_ID = str(uuid4())


class Bench(Protocol):
    """A store with rows in it, and someone else who finishes them."""

    @property
    def store(self) -> Store: ...

    async def insert(self, run_id: str | None = "run-1") -> RunRow: ...

    async def finish_elsewhere(self, row_id: RowId) -> None: ...

    async def start_again(self, row_id: RowId, run_id: str) -> None: ...

    async def use_for(self, row_id: RowId, workflow_id: str) -> None: ...

    async def refuse(self, row_id: RowId) -> None: ...


class FakeBench:
    def __init__(self) -> None:
        self.store = self.memory = MemoryStore()
        self.next_id = 1

    async def insert(self, run_id: str | None = "run-1") -> RunRow:
        row = RunRow(self.next_id, "wf", run_id, NOW)
        self.memory.running[row.id] = row
        self.next_id += 1
        return row

    async def finish_elsewhere(self, row_id: RowId) -> None:
        del self.memory.running[row_id]

    async def start_again(self, row_id: RowId, run_id: str) -> None:
        self.memory.running[row_id] = RunRow(row_id, "wf", run_id, NOW)

    async def use_for(self, row_id: RowId, workflow_id: str) -> None:
        self.memory.running[row_id] = RunRow(row_id, workflow_id, None, NOW)

    async def refuse(self, row_id: RowId) -> None:
        self.memory.refused[row_id] = "no"


class RealBench:
    def __init__(self, database: Database, store: PostgresStore) -> None:
        self.database = database
        self.store = store

    async def insert(self, run_id: str | None = "run-1") -> RunRow:
        now = datetime.now(UTC)
        id_ = await self.database.insert("wf", run_id, created_at=now)
        return RunRow(id_, "wf", run_id, now)

    async def finish_elsewhere(self, row_id: RowId) -> None:
        await self.database.execute(
            "UPDATE workflow_executions SET status = 'completed' WHERE id = $1", row_id
        )

    async def start_again(self, row_id: RowId, run_id: str) -> None:
        await self.database.execute(
            "UPDATE workflow_executions SET run_id = $2 WHERE id = $1", row_id, run_id
        )

    async def use_for(self, row_id: RowId, workflow_id: str) -> None:
        await self.database.execute(
            "UPDATE workflow_executions SET workflow_id = $2 WHERE id = $1", row_id, workflow_id
        )

    async def refuse(self, row_id: RowId) -> None:
        await self.database.execute(
            "ALTER TABLE workflow_executions ADD CONSTRAINT refused"
            f" CHECK (id <> {row_id} OR status = 'running')"
        )


@pytest.fixture
def fake_bench() -> Bench:
    return FakeBench()


@pytest.fixture
async def real_bench(database: Database) -> Bench:
    history = database.history()
    await history.begin(PassReport(PASS_ID, PassRequest("once"), started_at=NOW))
    return RealBench(database, PostgresStore(database.engine, await database.table()))


@pytest.fixture
async def bare_bench(database: Database) -> Bench:
    """In a database without the reconciler's schema."""
    await database.execute("DROP SCHEMA reconciler CASCADE")
    table = await database.table()
    return RealBench(database, PostgresStore(database.engine, table, journalled=False))


@pytest.fixture(params=["fake_bench", "real_bench", "bare_bench"])
def bench(request: pytest.FixtureRequest) -> Bench:
    bench: Bench = request.getfixturevalue(request.param)
    return bench


async def scan_all(store: Store, limit: int = 100) -> list[RunRow]:
    until = await store.last_running()
    assert until is not None
    return list(await store.scan_running(None, until, limit))


async def test_an_empty_table_has_no_last_row(bench: Bench) -> None:
    assert await bench.store.last_running() is None


async def test_the_last_row_is_the_last_that_runs(bench: Bench) -> None:
    first, second = await bench.insert(), await bench.insert()
    await bench.finish_elsewhere(second.id)

    assert await bench.store.last_running() == first.id


async def test_scans_running_rows_in_the_order_of_their_ids(bench: Bench) -> None:
    rows = [await bench.insert() for _ in range(4)]
    await bench.finish_elsewhere(rows[1].id)

    assert await scan_all(bench.store) == [rows[0], rows[2], rows[3]]


async def test_a_page_begins_after_the_cursor_and_ends_at_the_limit(bench: Bench) -> None:
    rows = [await bench.insert() for _ in range(5)]

    page = await bench.store.scan_running(rows[0].id, rows[4].id, 2)

    assert list(page) == rows[1:3]


async def test_a_scan_does_not_go_beyond_its_end(bench: Bench) -> None:
    rows = [await bench.insert() for _ in range(3)]

    assert list(await bench.store.scan_running(None, rows[1].id, 100)) == rows[:2]


async def test_nothing_is_left_after_the_last_row(bench: Bench) -> None:
    row = await bench.insert()

    assert list(await bench.store.scan_running(row.id, row.id, 100)) == []


async def test_reaches_the_last_of_so_many_running_rows(bench: Bench) -> None:
    rows = [await bench.insert() for _ in range(5)]
    await bench.finish_elsewhere(rows[1].id)
    reach, ids = bench.store.reach, [row.id for row in rows]

    assert await reach(None, ids[4], 2) == Reach(2, ids[2])
    assert await reach(ids[0], ids[4], 2) == Reach(2, ids[3])
    assert await reach(ids[2], ids[4], 9) == Reach(2, ids[4]), "fewer than that"
    assert await reach(None, ids[3], 9) == Reach(3, ids[3])
    assert await reach(ids[3], ids[3], 9) == Reach(0, None)
    assert await reach(None, ids[4], 0) == Reach(0, None)


async def test_reads_the_keys_of_a_sweep_back(bench: Bench) -> None:
    row = await bench.insert()

    for rest in (Rest(None, row.id), Rest(row.id, row.id)):
        assert await bench.store.read_rest(rest) == rest


async def test_finishes_a_row_that_is_running(bench: Bench) -> None:
    row = await bench.insert()

    assert await bench.store.finish_if_running(PASS_ID, [outcome(row)]) == Written(
        frozenset([row.id])
    )
    assert await bench.store.last_running() is None


async def test_leaves_a_row_that_is_no_longer_running(bench: Bench) -> None:
    lost, won = await bench.insert(), await bench.insert()
    await bench.finish_elsewhere(lost.id)

    written = await bench.store.finish_if_running(PASS_ID, [outcome(lost), outcome(won)])

    assert written.ids == {won.id}


async def test_leaves_a_row_that_has_been_started_again(bench: Bench) -> None:
    row = await bench.insert("run-1")
    await bench.start_again(row.id, "run-2")

    assert not (await bench.store.finish_if_running(PASS_ID, [outcome(row)])).ids


async def test_finishes_a_row_without_run_id_only_while_it_has_none(bench: Bench) -> None:
    without, meanwhile = await bench.insert(None), await bench.insert(None)
    await bench.start_again(meanwhile.id, "run-1")

    written = await bench.store.finish_if_running(PASS_ID, [outcome(without), outcome(meanwhile)])

    assert written.ids == {without.id}


async def test_leaves_a_row_that_is_about_another_workflow_by_now(bench: Bench) -> None:
    row = await bench.insert(None)
    await bench.use_for(row.id, "another")

    assert not (await bench.store.finish_if_running(PASS_ID, [outcome(row)])).ids


async def test_finishes_a_row_once(bench: Bench) -> None:
    row = await bench.insert()

    first = await bench.store.finish_if_running(PASS_ID, [outcome(row)])
    second = await bench.store.finish_if_running(PASS_ID, [outcome(row)])

    assert first.ids == {row.id}
    assert not second.ids


async def test_a_refused_row_is_named_and_the_others_are_written(bench: Bench) -> None:
    rows = [await bench.insert() for _ in range(5)]
    await bench.refuse(rows[3].id)

    written = await bench.store.finish_if_running(PASS_ID, [outcome(row) for row in rows])

    assert written.ids == {row.id for row in rows} - {rows[3].id}
    assert list(written.refused) == [rows[3].id]


async def test_rivals_are_other_rows_of_the_id_with_a_claim_to_the_use(bench: Bench) -> None:
    of, fits = await bench.insert(None), await bench.insert(None)
    first, last = await bench.insert("run-first"), await bench.insert("run-last")
    elsewhere = await bench.insert(None)
    await bench.use_for(elsewhere.id, "another")
    assert of.created_at is not None
    use = chain(of.created_at, closed_at=of.created_at + timedelta(hours=1))

    rivals = await bench.store.rivals([Ending(of, use)])

    assert not isinstance(rivals, Unknown)
    assert [{rival.row.id for rival in each} for each in rivals] == [{fits.id, first.id, last.id}]
