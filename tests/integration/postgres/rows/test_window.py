"""Which of the running rows are in a window; and what that needs of the table."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.model import RowId
from reconciler.core.window import EVERY, AgeSpread, Window
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import map_table
from reconciler.postgres.table.names import TableMapping
from reconciler.postgres.table.run_row import count_page
from tests.conftest import Database
from tests.support.tables.windows import (
    DAY,
    HOUR,
    THE_DAY,
    TICK,
    counted,
    insert_at,
    nullable,
    store_of,
)


async def ids(store: PostgresStore) -> list[RowId]:
    until = await store.last_running()
    assert until is not None
    return [row.id for row in await store.scan_running(None, until, 100)]


class TestWhichRowsAreInAWindow:
    async def test_from_its_beginning_to_before_its_end(self, database: Database) -> None:
        ends = (DAY - TICK, DAY, DAY + 24 * HOUR - TICK, DAY + 24 * HOUR)
        before, first, last, after = await insert_at(database, *ends)

        assert await ids(await store_of(database, THE_DAY)) == [first, last]
        assert await ids(await store_of(database, Window(since=DAY))) == [first, last, after]
        assert await ids(await store_of(database, Window(until=DAY))) == [before]
        assert await ids(await store_of(database)) == [before, first, last, after]

    async def test_a_row_that_does_not_say_when_it_was_created_is_in_none_with_a_bound(
        self, database: Database
    ) -> None:
        await nullable(database)
        (silent,) = await insert_at(database, None)

        assert await ids(await store_of(database)) == [silent]
        for window in (Window(since=DAY), Window(until=DAY), THE_DAY):
            assert await ids(await store_of(database, window)) == []

    async def test_times_without_a_zone_are_utc_whatever_the_session_says(
        self, database: Database
    ) -> None:
        await database.execute(
            "ALTER TABLE workflow_executions ALTER created_at DROP DEFAULT,"
            " ALTER created_at TYPE timestamp USING created_at AT TIME ZONE 'UTC'"
        )
        (name,) = await database.fetch("SELECT current_database() AS name")
        await database.execute(f"ALTER DATABASE {name['name']} SET timezone = 'Asia/Tokyo'")
        naive = [time.replace(tzinfo=None) for time in (DAY - TICK, DAY, DAY + 24 * HOUR)]
        _, first, _ = await insert_at(database, *naive)

        assert await ids(await store_of(database, THE_DAY)) == [first]

    async def test_bounds_may_be_of_any_zone(self, database: Database) -> None:
        _, first = await insert_at(database, DAY - TICK, DAY)
        east = timezone(timedelta(hours=9))

        assert await ids(await store_of(database, Window(since=DAY.astimezone(east)))) == [first]

    async def test_those_of_its_type_alone(self, database: Database) -> None:
        (order,) = await insert_at(database, DAY, workflow_type="Order")
        await insert_at(database, DAY, workflow_type="order")
        await insert_at(database, DAY, workflow_type=None)
        (early,) = await insert_at(database, DAY - HOUR, workflow_type="Order")

        assert await ids(await store_of(database, Window(workflow_type="Order"))) == [order, early]
        of_the_day = Window(since=DAY, workflow_type="Order")
        assert await ids(await store_of(database, of_the_day)) == [order]

    async def test_only_rows_that_run(self, database: Database) -> None:
        await insert_at(database, DAY, status="completed")
        (running,) = await insert_at(database, DAY)

        assert await ids(await store_of(database, THE_DAY)) == [running]
        assert await counted(await store_of(database, THE_DAY)) == AgeSpread(1, DAY, DAY)


async def plan_of(database: Database, query: sa.Select[Any]) -> str:
    async with database.engine.connect() as connection:
        compiled = query.compile(connection.sync_connection, compile_kwargs={"literal_binds": True})
        plan = await connection.exec_driver_sql(f"EXPLAIN {str(compiled).replace('%', '%%')}")
        return "\n".join(line for (line,) in plan)


@pytest.mark.parametrize(
    "window", [EVERY, THE_DAY, Window(workflow_type="Order")], ids=["every", "day", "type"]
)
async def test_a_page_and_a_count_use_the_partial_index(database: Database, window: Window) -> None:
    await database.execute(
        "INSERT INTO workflow_executions (workflow_id, status)"
        " SELECT 'wf', CASE WHEN n % 100 = 0 THEN 'running' ELSE 'completed' END"
        " FROM generate_series(1, 20000) n"
    )
    await database.execute("ANALYZE workflow_executions")
    table = await database.table()
    store = PostgresStore(database.engine, table, window)
    page = store.page(5, 20_000, 500)

    for query in (page, count_page(page, table)):
        plan = await plan_of(database, query)
        assert "reconciler_workflow_executions_running" in plan
        assert "Seq Scan" not in plan
    assert "Sort" not in await plan_of(database, page)


async def test_a_table_without_types_cannot_be_looked_at_by_type(database: Database) -> None:
    await database.execute("ALTER TABLE workflow_executions DROP workflow_type")

    with pytest.raises(DatabaseUnfit) as refused:
        await map_table(database.engine, TableMapping(), writing=False, also=("workflow_type",))

    assert str(refused.value) == (
        "table workflow_executions has no column workflow_type: "
        "set RECONCILER_COLUMNS__WORKFLOW_TYPE"
    )
    await database.table()
