"""The scope of a pass: one table, however its name is written; two filters are two scopes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.app import undo as journal
from reconciler.core.errors import ConfigurationError
from reconciler.core.policy import StatusValues
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassOptions, PassRequest
from reconciler.core.undo import UndoReport
from reconciler.passes.reconcile import run_pass
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.journal.bookkeeping import Bookkeeping
from reconciler.postgres.table.mapping import MappedTable, map_table
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from tests.conftest import Database
from tests.support.factories import CLOSE_TIME, closed, policy
from tests.support.fakes import ScriptedProbe

MINUTE = timedelta(minutes=1)
TABLE = "workflow_executions"


@pytest.fixture(autouse=True)
async def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database: Database) -> None:
    """Only the test's settings apply; the table has a row of each of two tenants."""
    for name in os.environ:
        if name.upper().startswith("RECONCILER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", database.url)
    monkeypatch.chdir(tmp_path)
    await database.execute(f"ALTER TABLE {TABLE} ADD tenant text")
    for tenant in ("x", "y"):
        await database.insert("w", "r", tenant=tenant, created_at=CLOSE_TIME - MINUTE)


@pytest.fixture(params=["public", "shop"])
async def spellings(request: pytest.FixtureRequest, database: Database) -> list[str]:
    """The names of one table, whose schema is in the search path."""
    schema: str = request.param
    if schema == "shop":
        await database.execute(
            f"CREATE SCHEMA shop; ALTER TABLE {TABLE} SET SCHEMA shop;"
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = shop, public',"
            " current_database()); END $$"
        )
    return [TABLE, f"{schema}.{TABLE}"]


def settings(table: str = TABLE, where: str = "", **others: object) -> Settings:
    return load_settings(Settings, table=table, where=where, **others)


@asynccontextmanager
async def opened(of: Settings) -> AsyncIterator[tuple[MappedTable, Bookkeeping]]:
    async with using_engine(of.dsn()) as engine:
        table = await map_table(engine, of.table_mapping(), writing=True)
        yield table, Bookkeeping(engine, journal=True)


async def passed(of: Settings) -> PassReport:
    """Run a pass for which every workflow has ended."""
    async with opened(of) as (table, books):
        history = books.history(table.scope, "default", StatusValues())
        probe, now = ScriptedProbe({}, closed()), datetime.now(UTC)
        report = PassReport.begin(PassRequest("once"), now)
        return await run_pass(
            books.store(table), probe, history, [], policy(), PassOptions(), now, report
        )


async def undone(of: Settings, report: PassReport) -> UndoReport:
    return await journal.undo(of, report.pass_id, dry_run=False)


async def claims(settings: Settings, holder: str, of: str = "") -> bool:
    async with opened(settings) as (table, books):
        lease = books.lease(table.scope, "default", holder, of)
        return await lease.claim(MINUTE) is not None


async def has_heartbeat(of: Settings) -> bool:
    """Whether the history of this scope has a good pass."""
    async with opened(of) as (table, books):
        history = books.history(table.scope, "default", StatusValues())
        return await history.heartbeat() is not None


async def test_a_table_has_one_lease_one_history_and_one_journal_however_it_is_written(
    spellings: list[str],
) -> None:
    for first, second in (spellings, reversed(spellings)):
        assert await claims(settings(first), first)
        assert not await claims(settings(second), second)
        assert await claims(settings(second), first)

        report = await passed(settings(first))
        assert report.changed == 2
        assert await has_heartbeat(settings(second))
        undo = await undone(settings(second), report)
        assert (undo.error, dict(undo.written)) == (None, {"running": 2})
        async with opened(settings(first)) as (table, books):
            await books.lease(table.scope, "default", first).release()


async def test_a_table_of_the_same_name_in_another_schema_is_another_scope(
    database: Database,
) -> None:
    await database.execute(
        f"CREATE SCHEMA shop; CREATE TABLE shop.{TABLE} (LIKE {TABLE} INCLUDING ALL)"
    )
    other = f"shop.{TABLE}"
    report = await passed(settings())

    assert await claims(settings(), "a")
    assert await claims(settings(other), "b")
    assert not await has_heartbeat(settings(other))
    with pytest.raises(ConfigurationError, match=f"was over table {TABLE}, and the settings say"):
        await undone(settings(other), report)
    with pytest.raises(ConfigurationError, match=f"was over table {other}, and the settings say"):
        await undone(settings(), await passed(settings(other)))


@pytest.mark.parametrize(
    ("schema", "name", "other"),
    [
        ("a", "b", "a.b"),
        ("a.b", "c", "a.b.c"),
        ('"a', 'b"', "a.b"),
        ("public", TABLE, f"{TABLE} where tenant = x"),
        ("public", TABLE, f"{TABLE} (backfill)"),
        ("public", TABLE, f"{TABLE} by workflow_id, state"),
    ],
)
async def test_two_tables_are_never_confused(
    database: Database, schema: str, name: str, other: str
) -> None:
    def quoted(*parts: str) -> str:
        return ".".join('"' + part.replace('"', '""') + '"' for part in parts)

    await database.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
    for table in (quoted(schema, name), quoted(other)):
        like = f"CREATE TABLE IF NOT EXISTS {table} (LIKE {TABLE} INCLUDING ALL)"
        await database.execute(like)
    first = settings(quoted(schema, name), where="tenant=x")
    second = settings(quoted(other))
    of_all = settings(quoted(schema, name))

    assert await claims(first, "a")
    assert await claims(second, "b")
    assert await claims(of_all, "c", of="backfill")
    assert await claims(second, "d", of="backfill")
    report = await passed(first)
    assert not await has_heartbeat(second)
    with pytest.raises(ConfigurationError, match="was over table"):
        await undone(second, report)
    assert (await undone(of_all, report)).error is None


async def test_two_filters_have_two_leases_and_two_histories() -> None:
    x, y, whole = (settings(where=where) for where in ("tenant=x", "tenant=y", ""))
    for each in (x, y, whole):
        assert await claims(each, repr(each.where))
        assert not await has_heartbeat(each)
    report = await passed(x)

    assert report.changed == 1
    assert [await has_heartbeat(each) for each in (x, y, whole)] == [True, False, False]
    assert (await passed(y)).changed == 1


LOOPS: dict[str, dict[str, Any]] = {
    "default": {},
    "other values": {"statuses": {"running": "queued,running"}},
    "another status": {"columns": {"status": "export_status"}},
    "another workflow": {"columns": {"workflow_id": "export_id"}},
    "other values and rows": {"statuses": {"running": "queued,running"}, "where": "tenant=x"},
}


@pytest.fixture
async def loops(database: Database) -> list[Settings]:
    """Of loops that all look at other rows of one table, or judge them by other columns."""
    await database.execute(
        f"ALTER TABLE {TABLE} ADD export_id text DEFAULT 'e', ADD export_status text"
    )
    await database.execute(f"UPDATE {TABLE} SET export_status = 'running'")
    return [settings(**of) for of in LOOPS.values()]


async def test_loops_that_differ_in_the_rows_they_select_do_not_meet(
    loops: list[Settings],
) -> None:
    for number, each in enumerate(loops):
        assert await claims(each, str(number)), "nobody else holds it"
        assert not await has_heartbeat(each)
        await passed(each)
    values = {"running": "running,queued"}
    assert not await claims(settings(statuses=values), "a replica"), "the order does not matter"
    assert not await claims(settings(columns={"completed_at": ""}), "of the same rows")


async def test_a_pass_is_undone_by_a_loop_with_other_values_but_not_by_one_of_other_columns(
    database: Database, loops: list[Settings]
) -> None:
    default, other_values, another_status, another_workflow, _ = loops
    await database.execute(f"UPDATE {TABLE} SET status = 'queued' WHERE tenant = 'x'")
    report = await passed(other_values)
    for each in (another_status, another_workflow):
        with pytest.raises(ConfigurationError, match=f"was over table {TABLE} where status = que"):
            await undone(each, report)

    undo = await undone(default, report)

    assert (undo.error, dict(undo.written)) == (None, {"queued": 1, "running": 1})


@pytest.mark.parametrize(
    ("of", "by", "count"), [("tenant=x", "", 1), ("", "tenant=x", 2), ("tenant=y", "tenant=x", 1)]
)
async def test_a_pass_can_be_undone_with_another_filter(
    database: Database, of: str, by: str, count: int
) -> None:
    """An undo restores all rows in the journal, whatever the current filter."""
    report = await passed(settings(where=of))
    assert report.changed == count

    undo = await undone(settings(where=by), report)

    assert (undo.error, dict(undo.written), dict(undo.left)) == (None, {"running": count}, {})
    rows = await database.fetch(f"SELECT DISTINCT status FROM {TABLE}")
    assert rows == [{"status": "running"}]
    (recorded,) = await database.fetch(
        "SELECT table_name FROM reconciler.passes WHERE mode = 'undo'"
    )
    assert recorded["table_name"] == (f"{TABLE} where {of.replace('=', ' = ')}" if of else TABLE)
