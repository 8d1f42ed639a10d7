"""Two rows with one key, which only a key of several columns allows: neither is mistaken."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from reconciler.core.model import RunRow, Unknown
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.postgres.rows.main_path_write import main_path_write
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.names import TableNames
from tests.conftest import Database
from tests.integration.postgres.rows.test_main_path_write import given
from tests.integration.postgres.rows.test_rivals import NOON, ending
from tests.support.factories import NOW, outcome

ID = "7a1c8aa0-0000-4000-8000-00000000000b"
DAY = timedelta(days=1)


async def jobs(database: Database, *rows: str, partitioned: str = "") -> MappedTable:
    """Rows of the tenants 1, 2 and so on, all with the same key."""
    await database.execute(
        "CREATE TABLE jobs (tenant int, id uuid, workflow_id text, run_id text, created_at"
        " timestamptz, status text DEFAULT 'running', completed_at timestamptz, error_message text,"
        f" PRIMARY KEY (tenant, id)) {partitioned}"
    )
    if partitioned:
        for part in (0, 1):
            values = f"FOR VALUES WITH (MODULUS 2, REMAINDER {part})"
            await database.execute(f"CREATE TABLE jobs_{part} PARTITION OF jobs {values}")
    for tenant, row in enumerate(rows, start=1):
        await database.execute(f"INSERT INTO jobs VALUES ({tenant}, '{ID}', {row})")
    return await database.table(TableNames(table="jobs"))


PARTITIONED = pytest.mark.parametrize("partitioned", ["", "PARTITION BY HASH (tenant)"])


@PARTITIONED
async def test_a_pass_writes_the_row_that_it_has_read(database: Database, partitioned: str) -> None:
    others = f"'b', 'r', '{NOON}'", f"'a', 'r2', '{NOON}'", f"'a', 'r', '{NOON - DAY}'"
    table = await jobs(database, f"'a', 'r', '{NOON}'", *others, partitioned=partitioned)
    report = PassReport(str(uuid4()), PassRequest("once"), NOW)
    await database.history().begin(report)
    store = PostgresStore(database.engine, table)
    assert len(await store.scan_running(None, UUID(ID), 9)) == 4

    of = RunRow(UUID(ID), "a", "r", NOON)
    await store.finish_if_running(report.pass_id, [outcome(of)])

    finished = await database.fetch("SELECT tenant FROM jobs WHERE status <> 'running'")
    assert finished == [{"tenant": 1}]


@PARTITIONED
async def test_a_row_with_the_same_key_is_a_rival(database: Database, partitioned: str) -> None:
    made = f"'{NOON}'"
    table = await jobs(database, f"'w', NULL, {made}", f"'w', '', {made}", partitioned=partitioned)
    store = PostgresStore(database.engine, table)
    rows = await store.scan_running(None, UUID(ID), 9)

    assert await rivals(store, rows[0]) == [rows[1]]
    assert await report(database, table) == (0, 2)
    await database.execute("DELETE FROM jobs WHERE tenant = 2")
    assert await rivals(store, rows[0]) == []
    assert await report(database, table) == (1, 0)


async def rivals(store: PostgresStore, row: RunRow) -> list[RunRow]:
    found = await store.rivals([replace(ending(0), row=row)])
    assert not isinstance(found, Unknown)
    return [rival.row for rival in found[0]]


async def report(database: Database, table: MappedTable) -> tuple[int, int]:
    """What the main path does for workflow `w`: rows finished, and rows in doubt."""
    values = given("w", given_started=NOON, given_close_time=NOON + DAY)
    async with database.engine.begin() as connection:
        done, rivals, _ = (await connection.execute(main_path_write(table), values)).one()
    return done, rivals
