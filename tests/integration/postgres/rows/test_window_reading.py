"""A window is read page by page and counted piece by piece, however few rows are in it."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from reconciler.core.model import RowId
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassRequest
from reconciler.core.report.tally import Tally
from reconciler.core.window import AgeSpread, Window
from reconciler.postgres.journal.checkpoint import restore, to_json
from reconciler.postgres.rows import store as module
from reconciler.postgres.table.names import TableNames
from tests.conftest import Database
from tests.support.factories import NOW
from tests.support.tables.windows import (
    DAY,
    HOUR,
    THE_DAY,
    counted,
    insert_at,
    nullable,
    store_of,
)


class TestReading:
    async def test_a_sparse_window_gives_full_pages_and_reads_no_more_at_a_time(
        self, database: Database
    ) -> None:
        times = [DAY if number % 7 == 0 else DAY - HOUR for number in range(1, 40)]
        inserted = await insert_at(database, *times)
        inside = inserted[6::7]
        store = await store_of(database, THE_DAY)

        first = await store.scan_running(None, inserted[-1], 3)
        assert [row.id for row in first] == inside[:3]
        second = await store.scan_running(first[-1].id, inserted[-1], 3)
        assert [row.id for row in second] == inside[3:]
        assert max(store.reads) == 3
        assert len(store.reads) == (21 // 3) + (39 - 21) // 3 + 1

    async def test_rows_of_the_last_statement_that_do_not_fit_are_read_again(
        self, database: Database
    ) -> None:
        _, *inside = await insert_at(database, DAY - HOUR, DAY, DAY, DAY, DAY)
        store = await store_of(database, THE_DAY)

        page = await store.scan_running(None, inside[-1], 3)
        following = await store.scan_running(page[-1].id, inside[-1], 3)

        assert [row.id for row in page] == inside[:3], "and not a fourth that was read with it"
        assert [row.id for row in following] == inside[3:]

    async def test_a_page_does_not_go_beyond_its_end(self, database: Database) -> None:
        inserted = await insert_at(database, DAY - HOUR, DAY, DAY, DAY)
        store = await store_of(database, THE_DAY)

        page = await store.scan_running(None, inserted[2], 3)

        assert [row.id for row in page] == inserted[1:3]

    async def test_an_empty_window_is_an_empty_page(self, database: Database) -> None:
        inserted = await insert_at(database, *[DAY - HOUR] * 4)
        store = await store_of(database, THE_DAY)

        assert list(await store.scan_running(None, inserted[-1], 2)) == []


class TestCounting:
    async def test_goes_piece_by_piece(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "COUNTED_AT_ONCE", 3)
        await nullable(database)
        times = [DAY + number * HOUR for number in (5, 30, 3, 9, -1, 7, 20)]
        await insert_at(database, *times, None)
        store, every = await store_of(database, THE_DAY), await store_of(database)

        assert await counted(store) == AgeSpread(5, DAY + 3 * HOUR, DAY + 20 * HOUR)
        assert await counted(every) == AgeSpread(8, DAY - HOUR, DAY + 30 * HOUR)
        assert store.reads == (1, 1, 1, 1), "the last row, and 3 + 3 + 2"

    @pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 6])
    async def test_counts_each_row_once_wherever_a_piece_ends(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, rows: int
    ) -> None:
        monkeypatch.setattr(module, "COUNTED_AT_ONCE", 2)
        await insert_at(database, *[DAY] * rows)

        count = await (await store_of(database)).count_running(Span(None, 1000))

        assert count == (AgeSpread(rows, DAY, DAY) if rows else AgeSpread())

    async def test_is_of_what_a_scan_of_the_span_would_find(self, database: Database) -> None:
        inserted = await insert_at(database, *(DAY + number * HOUR for number in range(6)))
        store = await store_of(database)

        count = await store.count_running(Span(inserted[1], inserted[4]))

        assert count == AgeSpread(3, DAY + 2 * HOUR, DAY + 4 * HOUR)


KEYS: dict[str, list[RowId]] = {
    "uuid": [UUID(int=number) for number in (1, 2, 3, 2**127)],
    "text": ["10", "9", "a/1", "b"],
    "varchar(9)": ["10", "9", "a/1", "b"],
    "bigint": [-1, 0, 7, 2**63 - 1],
}


async def jobs(database: Database, key: str) -> TableNames:
    """A table with keys of this type, each row an hour younger than the one before."""
    await database.execute(
        f"CREATE TABLE jobs (id {key} PRIMARY KEY, workflow_id text, run_id text, status text,"
        " created_at timestamptz, completed_at timestamptz, error_message text)"
    )
    for number, row_id in enumerate(KEYS[key]):
        await database.execute(
            "INSERT INTO jobs VALUES ($1, 'wf', 'run', 'running', $2)", row_id, DAY + number * HOUR
        )
    return TableNames(table="jobs")


@pytest.mark.parametrize("key", KEYS)
async def test_keys_may_be_of_any_type(
    database: Database, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setattr(module, "COUNTED_AT_ONCE", 2)
    store = await store_of(database, Window(since=DAY + HOUR), await jobs(database, key))

    assert await counted(store) == AgeSpread(3, DAY + HOUR, DAY + 3 * HOUR)
    last = await store.last_running()
    assert last is not None
    first = await store.scan_running(None, last, 2)
    second = await store.scan_running(first[-1].id, last, 2)
    assert [row.id for row in (*first, *second)] == KEYS[key][1:]


@pytest.mark.parametrize("key", KEYS)
async def test_a_key_that_was_noted_down_is_read_as_the_tables_own(
    database: Database, key: str
) -> None:
    names = await jobs(database, key)
    table, store = await database.table(names), await store_of(database, names=names)
    last = await store.last_running()
    assert last is not None
    first, *others = await store.scan_running(None, last, 9)

    noted = json.dumps(to_json(Progress(Span(first.id, last)), Tally()))
    report = PassReport.begin(PassRequest("backfill", asked={}), NOW)
    restore(report, json.loads(noted), table.read_id)

    assert report.progress == Progress(rest := Span(first.id, last))
    assert await store.scan_running(rest.after, rest.until, 9) == others
