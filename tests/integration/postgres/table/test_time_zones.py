"""Columns without a time zone: read and written in RECONCILER_TIME_ZONE, or refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.policy import StatusValues
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.core.window import Window
from reconciler.postgres.connection.engine import close, open_engine
from reconciler.postgres.journal.undo import PostgresUndo
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.rows.lookup.stored import find_rows
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable, map_table
from reconciler.postgres.table.names import TableMapping, TableNames
from tests.conftest import Database
from tests.integration.postgres.rows.test_main_path_write import finished_by
from tests.support.factories import outcome

NEW_YORK, TOKYO = "America/New_York", "Asia/Tokyo"
HALF_A_DAY = timedelta(hours=12)


@pytest.fixture
async def database(database: Database) -> Database:
    await database.execute(
        "ALTER TABLE workflow_executions ALTER created_at DROP DEFAULT,"
        " ALTER created_at TYPE timestamp, ALTER completed_at TYPE timestamp"
    )
    return database


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[str]:
    """A role that may insert rows."""
    name = f"writer_{uuid4().hex[:8]}"
    await database.execute(
        f"CREATE ROLE {name} LOGIN; GRANT INSERT ON workflow_executions TO {name}"
    )
    yield name
    await database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def set_default(database: Database, default: str) -> None:
    await database.execute(
        f"ALTER TABLE workflow_executions ALTER created_at SET DEFAULT {default}"
    )


async def set_zone(database: Database, zone: str, of: str = "DATABASE %I") -> None:
    """Of the database, or of a role in it or everywhere."""
    await database.execute(
        f"DO $$ BEGIN EXECUTE format('ALTER {of} SET TimeZone = ''{zone}''', current_database());"
        " END $$"
    )


async def mapped(database: Database, zone: str | None = None) -> MappedTable:
    return await database.table(TableNames(), StatusValues(), None, zone)


async def refusal(database: Database, zone: str | None = None) -> str:
    with pytest.raises(DatabaseUnfit) as refused:
        await mapped(database, zone)
    return str(refused.value)


@pytest.mark.parametrize(
    "default",
    [
        "now()",
        "CURRENT_TIMESTAMP(3)",
        "LOCALTIMESTAMP",
        "clock_timestamp()",
        "date_trunc('second', transaction_timestamp())",
        "('now'::text)::timestamp",
    ],
)
async def test_a_default_in_another_zone_is_refused(database: Database, default: str) -> None:
    await set_default(database, default)
    await set_zone(database, NEW_YORK)

    line = await refusal(database)

    assert line.startswith(
        "column created_at of workflow_executions has no time zone, its default is in"
        f" {NEW_YORK} (TimeZone of database "
    )
    assert ", and RECONCILER_TIME_ZONE is UTC: set RECONCILER_TIME_ZONE=America/New_York; " in line
    assert "\n" not in line
    with pytest.raises(DatabaseUnfit, match="set RECONCILER_TIME_ZONE="):
        await migrate(database.url, TableMapping())
    assert not (await mapped(database, NEW_YORK)).shift
    assert not (await mapped(database, "EST5EDT")).shift, "the same clock by another name"


async def test_the_way_out_that_is_named_works(database: Database) -> None:
    await set_default(database, "now()")
    await set_zone(database, NEW_YORK)
    _, statement = (await refusal(database)).split("all the same, ")

    await database.execute(statement)

    assert not (await mapped(database)).shift


@pytest.mark.parametrize("zone", ["Etc/UTC", "GMT", "Zulu"])
async def test_a_zone_is_known_by_its_clock(database: Database, zone: str) -> None:
    await set_default(database, "now()")
    await set_zone(database, zone)

    assert not (await mapped(database)).shift
    assert "default is in" in await refusal(database, "Europe/London"), "UTC in winter alone"


async def test_a_default_may_name_its_own_zone(database: Database) -> None:
    await set_zone(database, NEW_YORK)
    await set_default(database, "(now() AT TIME ZONE 'utc')")

    assert not (await mapped(database)).shift
    await set_default(database, f"timezone('{TOKYO}', now())")
    assert f"its default is in {TOKYO} (its own)" in await refusal(database)


async def test_a_creation_time_that_nothing_tells_the_zone_of_may_be_shifted(
    database: Database,
) -> None:
    assert (await mapped(database)).shift == HALF_A_DAY
    assert not (await mapped(database, "UTC")).shift, "the operator says so"
    assert not (await database.table(TableNames(created_at=None))).shift


async def test_a_column_that_is_written_has_the_same_zone(database: Database) -> None:
    await set_zone(database, TOKYO)
    await database.execute("ALTER TABLE workflow_executions ALTER completed_at SET DEFAULT now()")

    assert "column completed_at of workflow_executions has no time zone" in await refusal(database)


async def test_roles_that_insert_rows_may_have_zones_of_their_own(
    database: Database, writer: str
) -> None:
    await set_default(database, "now()")
    await set_zone(database, "UTC")

    await set_zone(database, TOKYO, f"ROLE {writer}")
    assert f"{TOKYO} (TimeZone of role {writer})" in await refusal(database)
    await set_zone(database, NEW_YORK, f"ROLE {writer} IN DATABASE %I")
    assert f"{NEW_YORK} (TimeZone of role {writer} in database" in await refusal(database)
    await set_zone(database, "UTC", f"ROLE {writer} IN DATABASE %I")
    await mapped(database)


async def test_the_zones_of_people_do_not_count(database: Database, writer: str) -> None:
    await set_default(database, "now()")
    await set_zone(database, "UTC")
    await set_zone(database, TOKYO, f"ROLE {writer}")

    await database.execute(f"ALTER ROLE {writer} SUPERUSER; DROP OWNED BY {writer}")

    await mapped(database)


async def test_the_zone_of_this_connection_hides_nothing(database: Database) -> None:
    await set_default(database, "now()")
    await set_zone(database, NEW_YORK)
    engine = open_engine(f"{database.url}{'&' if '?' in database.url else '?'}TimeZone=UTC")
    try:
        async with engine.connect() as connection:
            assert await connection.scalar(sa.text("SHOW TimeZone")) == "UTC"
        with pytest.raises(DatabaseUnfit, match=f"default is in {NEW_YORK}"):
            await map_table(engine, TableMapping(), writing=True)
    finally:
        await close(engine)


async def test_a_zone_that_the_server_does_not_know(database: Database) -> None:
    assert await refusal(database, "Mars/Phobos") == (
        "this server knows no time zone Mars/Phobos: set RECONCILER_TIME_ZONE to one it knows"
    )


async def test_times_are_read_written_and_restored_in_the_zone(database: Database) -> None:
    made, ended = datetime(2026, 7, 1, 8), datetime(2026, 7, 1, 9)  # noqa: DTZ001 - local
    in_utc = datetime(2026, 7, 1, 12, tzinfo=UTC)
    id_ = await database.insert("w", "r", created_at=made)
    await database.insert("later", "r", created_at=made + timedelta(hours=1))
    table = await mapped(database, NEW_YORK)
    window = Window(since=in_utc, until=in_utc + timedelta(minutes=1))
    store = PostgresStore(database.engine, table, window)
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=in_utc)
    await database.history().begin(report)

    (row,) = await store.scan_running(None, 9, 9)
    assert (row.id, row.created_at) == (id_, in_utc)
    completed_at = in_utc + timedelta(hours=1)
    written = await store.finish_if_running(
        report.pass_id, [outcome(row, completed_at=completed_at)]
    )
    assert written.ids == {id_}
    assert (await database.row(id_))["completed_at"] == ended
    (stored,) = await find_rows(database.engine, table, "w")
    assert stored.completed_at == completed_at
    (change,) = await database.fetch("SELECT id, new_completed_at FROM reconciler.changes")
    assert change["new_completed_at"] == completed_at

    undo = PostgresUndo(database.engine, table)
    undone = PassReport(str(uuid4()), PassRequest("undo"), started_at=in_utc)
    await database.history().begin(undone)
    restored = await undo.restore(undone.pass_id, [int(str(change["id"]))])
    assert len(restored.statuses) == 1
    assert (await database.row(id_))["completed_at"] is None


async def test_the_main_path_has_the_same_zone(
    database: Database,
) -> None:
    noon = datetime(2026, 7, 1, 12, tzinfo=UTC)
    id_ = await database.insert("w", created_at=datetime(2026, 7, 1, 21))  # noqa: DTZ001 - local
    report = {
        "given_workflow_id": "w",
        "given_run_id": "r",
        "given_namespace": "default",
        "given_status": "completed",
        "given_message": None,
        "given_close_time": noon + timedelta(minutes=1),
        "given_started": noon,
    }

    assert await finished_by(database, await mapped(database, "UTC"), report) == []
    assert await finished_by(database, await mapped(database, TOKYO), report) == [id_]
    assert (await database.row(id_))["completed_at"] == datetime(2026, 7, 1, 21, 1)  # noqa: DTZ001


async def test_the_time_of_the_last_update_has_the_same_zone(database: Database) -> None:
    await database.execute("ALTER TABLE workflow_executions ADD updated_at timestamp DEFAULT now()")
    await set_zone(database, TOKYO)
    names = TableNames(created_at=None, updated_at="updated_at")

    with pytest.raises(DatabaseUnfit, match="column updated_at of workflow_executions has no time"):
        await database.table(names)

    await database.execute("ALTER TABLE workflow_executions ALTER updated_at DROP DEFAULT")
    assert (await database.table(names)).shift == HALF_A_DAY


@pytest.mark.parametrize(
    ("zone", "local", "expected"),
    [
        ("America/New_York", "2026-11-01 01:30", "06:30"),  # twice: 05:30 and 06:30
        ("Europe/Dublin", "2026-10-25 01:30", "01:30"),  # twice: 00:30 and 01:30
        ("Australia/Lord_Howe", "2026-04-05 01:45", "15:15"),  # twice: 14:45 and 15:15
        ("America/New_York", "2026-03-08 02:30", "07:30"),  # never; 06:30 is earlier
    ],
)
async def test_a_local_time_that_is_ambiguous_never_makes_a_row_look_older(
    database: Database, zone: str, local: str, expected: str
) -> None:
    await database.insert("w", created_at=datetime.fromisoformat(local))

    (row,) = await PostgresStore(database.engine, await mapped(database, zone)).scan_running(
        None, 9, 9
    )

    assert row.created_at is not None
    assert f"{row.created_at:%H:%M}" == expected
