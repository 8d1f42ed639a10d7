"""Databases that are not UTF-8: what cannot be read or stored is about one row."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import uuid4

import pytest

from reconciler.core.model import Outcome, RunRow
from reconciler.core.policy import StatusValues
from reconciler.core.ports import Reach
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassRequest
from reconciler.core.report.sweep import Rest
from reconciler.core.report.tally import Tally
from reconciler.doctor.checks.table import check_table
from reconciler.doctor.findings import Level
from reconciler.postgres.connection.dialect import PoolerSafeDialect
from reconciler.postgres.diagnose.sample import last_rows, rows_by_namespace
from reconciler.postgres.journal.checkpoint import restore, to_json
from reconciler.postgres.journal.history import PassHistory
from reconciler.postgres.journal.lease import PostgresLease
from reconciler.postgres.journal.reader import JournalReader
from reconciler.postgres.journal.recent import Recent
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.rows.lookup.stored import find_rows, old_values
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.names import TableMapping, TableNames
from reconciler.settings.model import Settings
from reconciler.worker.database.sources import Sources
from reconciler.worker.report import EndReport
from tests.conftest import Database, opened
from tests.integration.postgres.rows.test_rejections import begun
from tests.support.factories import NOW, outcome
from tests.support.servers.lending import administer, with_database
from tests.support.tables.past import OURS


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
    found = await check_table(ascii_database.engine, Settings(database_url=ascii_database.url))

    (finding, _) = found.findings
    assert finding.level is Level.WARNING
    assert "SQL_ASCII" in finding.message
    assert "ENCODING 'UTF8'" in finding.fix


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


# 'a', 'c', and between them one that is no UTF-8: in the order of their bytes.
_TEXT_KEYS = (
    "CREATE TABLE jobs (id varchar(20) PRIMARY KEY, workflow_id text, run_id text,"
    " status text DEFAULT 'running', created_at timestamptz DEFAULT now(),"
    " completed_at timestamptz, error_message text);"
    "INSERT INTO jobs (id, workflow_id) VALUES ('a', 'wf-a'), ('b' || convert_from('\\xe9',"
    " 'SQL_ASCII'), 'wf-b'), ('c', 'wf-c'), ('d\u00e9', 'wf-d')"
)


@pytest.fixture
async def text_keys(ascii_database: Database) -> PostgresStore:
    await ascii_database.execute(_TEXT_KEYS)
    table = await ascii_database.table(TableNames(table="jobs"))
    return PostgresStore(ascii_database.engine, table)


@pytest.mark.parametrize("limit", [1, 10])
async def test_a_key_that_is_no_text_hides_no_other(text_keys: PostgresStore, limit: int) -> None:
    seen: list[RunRow] = []
    until = await text_keys.last_running()
    assert until == "d\u00e9"
    while page := await text_keys.scan_running(seen[-1].id if seen else None, until, limit):
        seen += page

    assert [row.id for row in seen] == ["a", "b\udce9", "c", "d\u00e9"]
    assert [row.unreadable for row in seen] == [None, "its key is not utf-8", None, None]
    assert (await text_keys.count_running(Span(None, until))).rows == 4
    assert (await text_keys.count_running(Span(seen[1].id, until))).rows == 2
    assert await text_keys.reach("a", until, limit) == Reach(min(limit, 3), seen[min(limit, 3)].id)
    recorded = Rest({"bytes": "62e9"}, until)  # type: ignore[arg-type]
    assert await text_keys.read_rest(recorded) == Rest("b\udce9", until)


async def test_a_key_that_is_no_text_may_be_the_last(
    ascii_database: Database, text_keys: PostgresStore
) -> None:
    await ascii_database.execute("DELETE FROM jobs WHERE id > 'c'")
    await ascii_database.execute("DELETE FROM jobs WHERE id = 'c'")

    until = await text_keys.last_running()

    assert until == "b\udce9"
    assert [row.id for row in await text_keys.scan_running("a", until, 10)] == [until]
    assert not await text_keys.scan_running(until, until, 10)


async def test_rows_beside_such_a_key_are_written_and_shown(
    ascii_database: Database, text_keys: PostgresStore
) -> None:
    table = await ascii_database.table(TableNames(table="jobs"))
    rows = await text_keys.scan_running(None, "d\u00e9", 10)
    old = await old_values(ascii_database.engine, table, [row.id for row in rows])
    assert [old[row.id].status for row in rows] == ["running"] * 4

    outcomes = [_failed(row, "boom") for row in rows if not row.unreadable]
    done = await text_keys.finish_if_running(await begun(ascii_database), outcomes)

    assert done.ids == {"a", "c", "d\u00e9"}


async def test_how_far_a_pass_came_may_be_such_a_key(
    ascii_database: Database, text_keys: PostgresStore
) -> None:
    table = await ascii_database.table(TableNames(table="jobs"))
    progress = Progress(Span("b\udce9", "d"))
    report = PassReport.begin(PassRequest("backfill", asked={}), NOW)

    stored_as = json.dumps(
        to_json(progress, Tally()), ensure_ascii=False
    ).encode()  # as JSONB takes it
    restore(report, json.loads(stored_as), table.read_id)

    assert report.progress == progress


async def test_changes_with_an_old_message_that_is_no_text_are_shown(
    ascii_database: Database,
) -> None:
    await ascii_database.execute(
        "UPDATE workflow_executions SET error_message = 'caf' || convert_from('\\xe9',"
        " 'SQL_ASCII') WHERE id = 1"
    )
    first, _, last = await scanned(ascii_database)
    store = PostgresStore(ascii_database.engine, await ascii_database.table())
    pass_id = await begun(ascii_database)
    await store.finish_if_running(
        pass_id, [_failed(row, "d\u00e9j\u00e0") for row in (first, last)]
    )
    await ascii_database.execute(
        "UPDATE reconciler.changes SET found_by = 'sweep',"
        " workflow_type = convert_from('\\xe9', 'SQL_ASCII')"
    )
    reader = JournalReader(ascii_database.engine)
    pages = [page async for page in reader.changes(10)]
    newest = await reader.newest(*OURS, 10)
    recent = Recent(ascii_database.engine, *OURS)
    losing = await recent.losing(datetime.now(UTC) - timedelta(days=1), 10)

    assert newest == [change for page in pages for change in page]
    assert [each.workflow_type for each in losing.types] == ["\\xe9"]
    changes = {change.row_id: change for (page) in pages for change in page}
    assert changes["1"].old.error_message == "caf\\xe9"
    assert changes["1"].workflow_id == "caf\u00e9"
    assert changes["3"].old.error_message is None
    assert [change.new.error_message for change in changes.values()] == ["d\u00e9j\u00e0"] * 2


async def test_namespaces_that_are_no_text_are_distinguished(ascii_database: Database) -> None:
    await ascii_database.execute("ALTER TABLE workflow_executions ADD namespace text")
    await ascii_database.execute(
        "UPDATE workflow_executions SET namespace = convert_from('\\xe9', 'SQL_ASCII') WHERE id = 2"
    )
    table = await ascii_database.table(TableNames(namespace="namespace"))

    found = await rows_by_namespace(ascii_database.engine, table, "own", 9, 9)

    assert {each.name: each.count for each in found} == {"own": 2, "\\xe9": 1}


@pytest.mark.parametrize(
    ("encoding", "error", "stored"),
    [
        ("LATIN1", "d\u00e9j\u00e0 \u6f22 \u2026", "d\u00e9j\u00e0 \\u6f22 \\u2026"),
        ("SQL_ASCII", "\u6f22", "\u6f22"),
    ],
)
async def test_the_end_of_a_pass_is_recorded_whatever_its_words(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, encoding: str, error: str, stored: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "h\u00f6st-\u6f22")
    async with encoded(postgres_url, encoding) as database:
        history = PassHistory(
            database.engine, "t\u00e4ble-\u6f22", "sp\u00e4ce-\u6f22", StatusValues()
        )
        request = PassRequest("once", asked={"workflow_type": "\u00e9\u6f22"})
        report = PassReport(str(uuid4()), request, started_at=NOW)
        report.progress = Progress(Span(None, 7))
        await history.begin(report)
        report.error, report.stopped = error, True
        await history.end(report)

        (stored_as,) = [page async for page in JournalReader(database.engine).passes(9)]
        begun_pass = await history.unfinished(request, (await database.table()).read_id)

    assert stored_as[0].error == stored
    assert stored_as[0].outcome == "aborted"
    assert begun_pass is not None
    assert begun_pass.pass_id == report.pass_id


async def test_a_character_that_only_python_knows_is_no_end_of_the_record(
    postgres_url: str,
) -> None:
    async with encoded(postgres_url, "LATIN1") as database:
        history = database.history()
        report = PassReport(str(uuid4()), PassRequest("once"), started_at=NOW)
        await history.begin(report)
        cast("PoolerSafeDialect", database.engine.dialect).codec = "utf-8"
        report.error = "\u00e9 \u6f22"

        await history.end(report)

        assert report.error == "\u00e9 \u6f22"
        (stored_as,) = await database.fetch("SELECT error FROM reconciler.passes")
        assert stored_as["error"] == "\\xe9 \\u6f22"


async def test_replicas_of_other_namespaces_keep_leases_of_their_own(postgres_url: str) -> None:
    async with encoded(postgres_url, "LATIN1") as database:
        one = PostgresLease(database.engine, "jobs", "\u6f22", "h\u00f6st-1")
        other = PostgresLease(database.engine, "jobs", "\u5b57", "h\u00f6st-2")
        assert await one.claim(timedelta(seconds=60)) == 1
        assert await other.claim(timedelta(seconds=60)) == 1
        assert await one.claim(timedelta(seconds=60)) == 1


def _failed(row: RunRow, message: str) -> Outcome:
    return outcome(row, status="failed", error_message=message, temporal_status="FAILED")


async def test_a_workflow_reports_its_end_whatever_its_words(postgres_url: str) -> None:
    async with encoded(postgres_url, "LATIN1") as database:
        id_ = await database.insert("wf", "r")
        writer = Sources(database.engine).of().open()

        report = EndReport("wf", "FAILED", "r", NOW, "d\u00e9j\u00e0 \u6f22")
        assert await writer.finish(report, None, NOW)

        assert (await database.row(id_))["error_message"] == "d\u00e9j\u00e0 ?"
