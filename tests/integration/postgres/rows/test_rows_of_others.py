"""Rows excluded by RECONCILER_WHERE or by namespace: never read, never written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio.testing import ActivityEnvironment

from reconciler.core.model import RunRow
from reconciler.core.policy import StatusValues
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Span
from reconciler.core.report.request import PassRequest
from reconciler.core.window import AgeSpread
from reconciler.postgres.rows.lookup.stored import find_rows
from reconciler.postgres.rows.main_path_write import main_path_write
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.names import TableNames
from reconciler.postgres.table.row_filter import Condition, RowFilter
from reconciler.settings.where import read_where
from reconciler.worker import status_activity
from tests.conftest import Database
from tests.integration.postgres.rows.test_main_path_write import finished_by
from tests.support.factories import outcome

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAMES = TableNames()
SPACES = TableNames(namespace="space")
# The same in every process: they are in the names of tests.
UUID_1, UUID_2 = (f"5dd76082-6009-41b1-83d8-7e1a7a52bc3{end}" for end in "12")


@pytest.fixture
async def shared(database: Database) -> Database:
    """With columns for the owner of a row."""
    await database.execute("ALTER TABLE workflow_executions ADD tenant text, ADD space text")
    return database


async def filtered(database: Database, *values: str, names: TableNames = NAMES) -> MappedTable:
    return await database.table(names, StatusValues(), RowFilter((Condition("tenant", values),)))


async def begin(database: Database) -> str:
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=NOON)
    await database.history().begin(report)
    return report.pass_id


async def test_nothing_but_rows_of_these_values_is_found_or_counted(shared: Database) -> None:
    await shared.insert("w", tenant="x", created_at=NOON - timedelta(days=1))
    ours = await shared.insert("w", tenant="o'neill, inc", created_at=NOON)
    await shared.insert("w", tenant=None, created_at=NOON + timedelta(days=1))
    table = await filtered(shared, "o'neill, inc", "nobody")
    store = PostgresStore(shared.engine, table)

    assert await store.last_running() == ours
    assert [row.id for row in await store.scan_running(None, 9, 9)] == [ours]
    assert await store.count_running(Span(None, 9)) == AgeSpread(1, NOON, NOON)
    found = await find_rows(shared.engine, table, "w")
    assert [bool(row.running) for row in found] == [False, True, False]


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("tenant=x,y and space is null", {1, 2}),
        ("space is null AND tenant=x , y and gone is null", {1}),
        ("tenant!=y", {1, 3}),
        ("tenant!=x,y", set()),
        ("tenant is null", {4}),
        ("space is not null", {3, 4}),
        ('space != ""', {4}),
        ("gone is not null", {2}),
        ("gone!=2026-01-01T12:00Z", set()),
    ],
)
async def test_all_conditions_must_hold_and_null_is_neither_equal_nor_different(
    shared: Database, text: str, ours: set[int]
) -> None:
    await shared.execute("ALTER TABLE workflow_executions ADD gone timestamptz")
    await shared.insert("w", tenant="x")
    await shared.insert("w", tenant="y", gone=NOON)
    await shared.insert("w", tenant="x", space="")
    await shared.insert("w", tenant=None, space="blue")
    table = await shared.table(NAMES, StatusValues(), read_where(text))

    rows = await PostgresStore(shared.engine, table).scan_running(None, 9, 9)

    assert {row.id for row in rows} == ours
    found = await find_rows(shared.engine, table, "w")
    assert {row.row.id for row in found if row.included} == ours


async def test_a_condition_about_null_may_be_on_a_column_of_any_type(database: Database) -> None:
    await database.execute(
        "CREATE TYPE state AS ENUM ('on'); CREATE DOMAIN dom AS state; ALTER TABLE"
        " workflow_executions ADD a json, ADD b dom, ADD c point, ADD d xid8, ADD e int[]"
    )
    id_ = await database.insert("w")
    text = "a is null and b is null and c is null and d is null and e is null"
    table = await database.table(NAMES, StatusValues(), read_where(text))

    assert await PostgresStore(database.engine, table).last_running() == id_


async def test_a_row_that_is_given_away_meanwhile_is_left(shared: Database) -> None:
    id_ = await shared.insert("w", "r", tenant="x")
    store = PostgresStore(shared.engine, await filtered(shared, "x"))
    (seen,) = await store.scan_running(None, 9, 9)
    await shared.execute("UPDATE workflow_executions SET tenant = 'y'")

    written = await store.finish_if_running(await begin(shared), [outcome(seen)])

    assert not written.ids
    assert (await shared.row(id_))["status"] == "running"


async def test_the_values_are_bound_and_no_part_of_a_statement(shared: Database) -> None:
    table = await filtered(shared, "x'; DROP TABLE workflow_executions; --")
    store = PostgresStore(shared.engine, table)

    assert await store.last_running() is None
    for statement in (store.last(), store.page(None, 1, 1), main_path_write(table)):
        assert "DROP" not in str(statement.compile(dialect=shared.engine.dialect))


@pytest.mark.parametrize(
    ("kind", "ours", "wanted"),
    [
        ("int", "7", ("07", "8")),
        ("uuid", UUID_1, (UUID_1.upper(), UUID_2)),
        ("boolean", "true", ("yes",)),
        ("date", "2026-01-31", ("20260131",)),
        ("varchar(9)", "acme", ("acme",)),
        ("char(9)", "acme", ("acme",)),
        ('"Own".tier', "it's gold", ("it's gold", "silver")),
        ('"Own".short', "acme", ("acme",)),
        ('"Own".small', "7", ("7",)),
    ],
)
async def test_a_filter_by_a_column_of_any_type(
    database: Database, kind: str, ours: str, wanted: tuple[str, ...]
) -> None:
    await database.execute(
        """
        CREATE SCHEMA "Own"; CREATE TYPE "Own".tier AS ENUM ('it''s gold', 'silver', 'none');
        CREATE DOMAIN "Own".short AS text CHECK (length(VALUE) < 9);
        CREATE DOMAIN "Own".small AS smallint CHECK (VALUE < 100);
        """
    )
    await database.execute(f"ALTER TABLE workflow_executions ADD tenant {kind}")
    mine = await database.insert("w")
    await database.insert("w")
    await database.execute(
        f"UPDATE workflow_executions SET tenant = $1::text::{kind} WHERE id = {mine}", ours
    )
    store = PostgresStore(database.engine, await filtered(database, *wanted))

    assert [row.id for row in await store.scan_running(None, 9, 9)] == [mine]


async def test_the_status_itself_may_be_what_is_filtered_by(database: Database) -> None:
    first = await database.insert("w", status="pending")
    await database.insert("w", status="running")
    statuses = StatusValues(("pending", "running"))
    table = await database.table(NAMES, statuses, read_where("status=pending"))

    rows = await PostgresStore(database.engine, table).scan_running(None, 9, 9)

    assert [row.id for row in rows] == [first]


@pytest.mark.parametrize("space", ["blue", "", None])
@pytest.mark.parametrize("meanwhile", ["green", "", None])
async def test_a_row_is_finished_in_the_namespace_it_was_seen_in(
    shared: Database, space: str | None, meanwhile: str | None
) -> None:
    id_ = await shared.insert("w", "r", space=space)
    store = PostgresStore(shared.engine, await shared.table(SPACES))
    (seen,) = await store.scan_running(None, 9, 9)
    assert seen == RunRow(id_, "w", "r", seen.created_at, space)
    await shared.execute("UPDATE workflow_executions SET space = $1", meanwhile)

    written = await store.finish_if_running(await begin(shared), [outcome(seen)])

    assert written.ids == ({id_} if meanwhile == space else set())


class TestMainPath:
    """Which row a workflow of namespace blue and first run `ours` finishes as its own."""

    @staticmethod
    async def finish(database: Database, table: MappedTable, **others: Any) -> list[int]:
        given = {
            "given_workflow_id": "w",
            "given_run_id": "ours",
            "given_namespace": "blue",
            "given_status": "completed",
            "given_message": None,
            "given_close_time": NOON + timedelta(days=36_500),
            "given_started": NOON + timedelta(days=36_500),
            **others,
        }
        return await finished_by(database, table, given)

    @pytest.mark.parametrize("run_id", ["ours", None])
    async def test_never_one_of_another_namespace(
        self, shared: Database, run_id: str | None
    ) -> None:
        await shared.insert("w", run_id, space="green")

        assert await self.finish(shared, await shared.table(SPACES)) == []

    @pytest.mark.parametrize("space", ["blue", "", None])
    async def test_by_its_run_its_own_or_one_of_none(
        self, shared: Database, space: str | None
    ) -> None:
        id_ = await shared.insert("w", "ours", space=space)

        assert await self.finish(shared, await shared.table(SPACES)) == [id_]

    @pytest.mark.parametrize("space", ["", None])
    async def test_without_a_run_id_none_of_none(self, shared: Database, space: str | None) -> None:
        """It is of the reconciler's own namespace, which the worker does not know."""
        await shared.insert("w", space=space)

        assert await self.finish(shared, await shared.table(SPACES)) == []

    @pytest.mark.parametrize("space", ["", None])
    async def test_one_of_its_namespace_before_one_of_none(
        self, shared: Database, space: str | None
    ) -> None:
        ours = await shared.insert("w", space="blue", created_at=NOON)
        await shared.insert("w", space=space, created_at=NOON + timedelta(days=1))
        table = await shared.table(SPACES)

        assert await self.finish(shared, table) == [ours]
        assert await self.finish(shared, table) == [], "tried again, it finds the same row"

    async def test_that_of_its_run_before_any(self, shared: Database) -> None:
        ours = await shared.insert("w", "ours", space=None)
        await shared.insert("w", space="blue")

        assert await self.finish(shared, await shared.table(SPACES)) == [ours]

    async def test_none_without_a_run_id_where_the_namespace_is_not_known(
        self, shared: Database
    ) -> None:
        await shared.insert("w", space="blue")
        await shared.insert("w", space=None)
        table = await shared.table(SPACES)

        assert await self.finish(shared, table, given_namespace=None) == []

    async def test_a_younger_row_of_another_tenant_is_not_in_the_way(
        self, shared: Database
    ) -> None:
        ours = await shared.insert("w", tenant="x", created_at=NOON)
        await shared.insert("w", tenant="y", created_at=NOON + timedelta(days=1))

        assert await self.finish(shared, await filtered(shared, "x")) == [ours]

    async def test_without_run_ids_none_that_was_made_after_the_end(self, shared: Database) -> None:
        ours = await shared.insert("w", "theirs", created_at=NOON)
        await shared.insert("w", "theirs", created_at=NOON + timedelta(seconds=3))
        table = await shared.table(TableNames(run_id=None))

        assert await self.finish(shared, table, given_close_time=NOON) == [ours]

    async def test_the_activity_knows_the_namespace_of_its_workflow(
        self, shared: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RECONCILER_COLUMNS__NAMESPACE", "space")
        ours = await shared.insert("w", "ours", space="blue")
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, workflow_namespace="blue")

        activity = status_activity(shared.engine)
        assert await environment.run(activity, "w", "completed", None, "ours", NOON)
        assert (await shared.row(ours))["status"] == "completed"


async def test_what_is_filtered_by_is_a_part_of_the_journal_in_no_way(shared: Database) -> None:
    """The journal names only the table: an undo may be limited to other rows."""
    id_ = await shared.insert("w", "r", tenant="x")
    store, pass_id = PostgresStore(shared.engine, await filtered(shared, "x")), await begin(shared)
    (seen,) = await store.scan_running(None, 9, 9)

    await store.finish_if_running(pass_id, [outcome(seen)])

    assert await shared.fetch("SELECT pass_id, table_name, row_id FROM reconciler.changes") == [
        {"pass_id": UUID(pass_id), "table_name": "workflow_executions", "row_id": str(id_)}
    ]
