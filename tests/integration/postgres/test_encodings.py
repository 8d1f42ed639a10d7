"""Databases that are not UTF-8: what cannot be read or stored is about one row."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from reconciler.core.model import Outcome, RunRow
from reconciler.doctor.findings import Level
from reconciler.doctor.table import check_table
from reconciler.postgres.lookup import find_rows
from reconciler.postgres.migrate import migrate
from reconciler.postgres.sample import last_rows, rows_by_namespace
from reconciler.postgres.store import PostgresStore
from reconciler.postgres.tables import TableMapping
from reconciler.settings.model import Settings
from tests.conftest import Database, opened
from tests.factories import outcome
from tests.integration.postgres.test_rejections import begun
from tests.lending import administer, with_database


@contextlib.asynccontextmanager
async def encoded(server: str, encoding: str) -> AsyncIterator[Database]:
    name = f"test_{uuid4().hex}"
    await administer(
        server,
        f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        " TEMPLATE template0",
    )
    try:
        await migrate(with_database(server, name), TableMapping())
        async with opened(with_database(server, name)) as database:
            yield database
    finally:
        await administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def ascii_database(postgres_url: str) -> AsyncIterator[Database]:
    """With a row whose workflow id is no UTF-8, between two that are."""
    async with encoded(postgres_url, "SQL_ASCII") as database:
        await database.execute(
            "INSERT INTO workflow_executions (workflow_id, run_id) VALUES"
            " ('caf\u00e9', 'r'), ('caf' || convert_from('\\xe9', 'SQL_ASCII'), 'r'), ('b', 'r')"
        )
        yield database


async def scanned(database: Database) -> list[RunRow]:
    store = PostgresStore(database.engine, await database.table())
    until = await store.last_running()
    assert until is not None
    return list(await store.scan_running(None, until, 10))


async def test_a_row_that_cannot_be_read_hides_no_other(ascii_database: Database) -> None:
    first, bad, last = await scanned(ascii_database)

    assert (first.workflow_id, first.unreadable) == ("caf\u00e9", None)
    assert (last.workflow_id, last.run_id, last.unreadable) == ("b", "r", None)
    assert bad.unreadable is not None
    assert "not utf-8" in bad.unreadable
    assert bad.workflow_id == "caf\\xe9"


async def test_the_others_are_written(ascii_database: Database) -> None:
    first, _, last = await scanned(ascii_database)
    store = PostgresStore(ascii_database.engine, await ascii_database.table())
    failed = [_failed(row, "d\u00e9j\u00e0 vu \u2026") for row in (first, last)]

    done = await store.finish_if_running(await begun(ascii_database), failed)

    assert done.ids == {first.id, last.id}
    assert (await ascii_database.row(1))["error_message"] == "d\u00e9j\u00e0 vu \u2026"


async def test_what_the_doctor_and_explain_read_too(ascii_database: Database) -> None:
    engine, table = ascii_database.engine, await ascii_database.table()

    assert len(await last_rows(engine, table, 10)) == 3
    assert [each.count for each in await rows_by_namespace(engine, table, "own", 9, 9)] == [3]
    (found,) = await find_rows(engine, table, "caf\u00e9")
    assert (found.row.workflow_id, found.status, found.error_message) == (
        *("caf\u00e9", "running"),
        None,
    )


async def test_the_doctor_warns_of_sql_ascii(ascii_database: Database) -> None:
    found = await check_table(ascii_database.engine, Settings(DATABASE_URL=ascii_database.url))

    (finding, _) = found.findings
    assert finding.level is Level.WARNING
    assert "SQL_ASCII" in finding.message
    assert "ENCODING 'UTF8'" in finding.mend


@pytest.mark.parametrize(
    ("encoding", "message", "stored"),
    [
        ("LATIN1", "d\u00e9j\u00e0 \u6f22 \u2026", "d\u00e9j\u00e0 ? ?"),
        ("WIN1252", "na\u00efve \u2026 \u6f22", "na\u00efve \u2026 ?"),
        ("EUC_JP", "\u6f22 \u0e01", "\u6f22 ?"),
        ("UTF8", "\u6f22\0\ud800 \u2026", "\u6f22?? \u2026"),
        # Python's codec has it, and PostgreSQL's has not.
        ("WIN874", "\u0e01 \u20ac \u2026", None),
    ],
)
async def test_what_the_database_cannot_hold_is_replaced(
    postgres_url: str, encoding: str, message: str, stored: str | None
) -> None:
    async with encoded(postgres_url, encoding) as database:
        ids = [await database.insert("wf", "r") for _ in range(3)]
        store = PostgresStore(database.engine, await database.table())
        rows = [RunRow(id_, "wf", "r", None) for id_ in ids]
        outcomes = [_failed(row, "plain") for row in rows]
        outcomes[1] = _failed(rows[1], message)

        done = await store.finish_if_running(await begun(database), outcomes)

        assert done.ids == set(ids)
        if stored is not None:
            assert (await database.row(ids[1]))["error_message"] == stored


async def test_a_character_that_only_python_knows_costs_all_of_its_kind(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A codec of Python's that has more characters than the server's."""
    async with encoded(postgres_url, "LATIN1") as database:
        id_ = await database.insert("wf", "r")
        store = PostgresStore(database.engine, await database.table())
        monkeypatch.setattr(store, "_codec", "utf-8")

        done = await store.finish_if_running(
            await begun(database), [_failed(RunRow(id_, "wf", "r", None), "\u00e9 \u6f22")]
        )

        assert done.ids == {id_}
        assert (await database.row(id_))["error_message"] == "? ?"


async def test_text_that_the_server_could_not_convert_hides_no_other(postgres_url: str) -> None:
    async with encoded(postgres_url, "WIN1252") as database:
        await database.execute(
            "INSERT INTO workflow_executions (workflow_id) VALUES"
            " (convert_from('\\x81', 'WIN1252')), ('\u20ac')"
        )
        bad, good = await scanned(database)

    assert bad.unreadable is not None
    assert (good.workflow_id, good.unreadable) == ("\u20ac", None)


def _failed(row: RunRow, message: str) -> Outcome:
    return outcome(row, status="failed", error_message=message, temporal_status="FAILED")
