"""Keys of other types: which a backfill can record, and which it refuses."""

from __future__ import annotations

import re
from uuid import UUID

import pytest

from reconciler.core.errors import DatabaseUnfit, DatabaseUnusable
from reconciler.core.model import RunRow
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.postgres.rows.store import PostgresStore
from tests.conftest import Database
from tests.support.factories import NOW, outcome

SOME = UUID("01a213b5-697d-7cfc-bf26-de369cbc1bbd")


async def test_a_key_may_have_a_value_that_its_enum_got_later(database: Database) -> None:
    await database.execute("CREATE TYPE size AS ENUM ('small')")
    await retyped(database, "size", "'small'::size")
    await database.execute(
        "CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
        "CREATE TRIGGER noop AFTER UPDATE ON workflow_executions"
        " FOR EACH ROW EXECUTE FUNCTION noop()"
    )
    insert = "INSERT INTO workflow_executions (id, workflow_id) VALUES ('{}', 'w')"
    await database.execute(insert.format("small"))
    store = PostgresStore(database.engine, await database.table())
    await database.execute("ALTER TYPE size ADD VALUE 'tiny' BEFORE 'small'")
    await database.execute(insert.format("tiny"))

    rows = await store.scan_running(None, await store.last_running() or "", 10)

    assert [row.id for row in rows] == ["tiny", "small"]
    report = PassReport(SOME.hex, PassRequest("once"), started_at=NOW)
    await database.history().begin(report)
    done = await store.finish_if_running(report.pass_id, [outcome(row) for row in rows])
    assert done.ids == {"tiny", "small"}


async def retyped(database: Database, kind: str, using: str) -> None:
    await database.execute(
        "ALTER TABLE workflow_executions ALTER id DROP IDENTITY;"
        f"ALTER TABLE workflow_executions ALTER id TYPE {kind} USING {using}"
    )


async def test_a_domain_is_read_as_what_it_is_made_of(database: Database) -> None:
    await database.execute("CREATE DOMAIN uid AS uuid")
    await retyped(database, "uid", f"'{SOME}'::uuid")
    table = await database.table()

    table.key.check_notable(table.full_name)

    assert table.read_id(str(SOME)) == SOME


@pytest.mark.parametrize(
    ("kind", "noted"), [("text", 8), ("bigint", "8"), ("uuid", 8), ("uuid", "eight")]
)
async def test_a_recorded_id_of_another_type_is_rejected(
    database: Database, kind: str, noted: int | str
) -> None:
    await retyped(database, kind, f"'{SOME}'::uuid" if kind == "uuid" else f"id::{kind}")
    table = await database.table()

    with pytest.raises(ValueError, match=r"8'? is no|badly formed"):
        table.read_id(noted)


@pytest.mark.parametrize("kind", ["bigint", "integer", "text", "varchar(40)"])
async def test_numbers_and_texts_will_do(database: Database, kind: str) -> None:
    await retyped(database, kind, f"id::{kind}")

    table = await database.table()
    table.key.check_notable(table.full_name)


async def test_a_key_that_cannot_be_recorded_is_refused(database: Database) -> None:
    await retyped(database, "numeric", "id::numeric")
    table = await database.table()

    with pytest.raises(
        DatabaseUnfit, match="column id of workflow_executions is of type numeric: "
    ):
        table.key.check_notable(table.full_name)


async def test_what_our_own_tables_refuse_is_not_blamed_on_the_rows(database: Database) -> None:
    """The pass is no longer in the history: nothing could be explained or undone."""
    rows = [RunRow(await database.insert("wf", None), "wf", None, None) for _ in range(2)]
    store = PostgresStore(database.engine, await database.table())

    with pytest.raises(DatabaseUnusable, match="cannot write workflow_executions"):
        await store.finish_if_running(str(SOME), [outcome(row) for row in rows])

    assert [(await database.row(int(str(row.id))))["status"] for row in rows] == ["running"] * 2


@pytest.mark.parametrize(
    ("kind", "using"),
    [
        *[("bigint[]", "ARRAY[id]"), ("jsonb", "to_jsonb(id)"), ("bit(8)", "id::int::bit(8)")],
        # Python has no such year: one row of it would fail every page.
        *[("date", "'0044-03-15 BC'::date"), ("timestamp with time zone", "'10000-01-01Z'")],
        # The driver gives it as bytes, and takes none.
        *[('"char"', 'id::text::"char"'), ("byte", 'id::text::"char"')],
        *[("dom", "'x'::state"), ("domdom", "'x'::state")],
    ],
)
async def test_a_key_that_does_not_identify_rows_is_refused_at_the_start(
    database: Database, kind: str, using: str
) -> None:
    await database.execute(
        "CREATE TYPE state AS ENUM ('x'); CREATE DOMAIN dom AS state; CREATE DOMAIN domdom AS dom;"
        'CREATE DOMAIN byte AS "char"'
    )
    await retyped(database, kind, using)

    with pytest.raises(DatabaseUnfit, match=f"column id of .* is of type {re.escape(kind)}"):
        await database.table()


@pytest.mark.parametrize(
    ("kind", "using"),
    [
        *[("numeric", "id + 0.50"), ("float8", "id"), ("inet", "'10.0.0.0'::inet + id")],
        *[("bytea", "decode(lpad(id::text, 4, '0'), 'hex')"), ("char(9)", "id::char(9)")],
        *[("smallint", "id")],
    ],
)
async def test_rows_with_keys_of_any_other_type_are_written(
    database: Database, kind: str, using: str
) -> None:
    for _ in range(5):
        await database.insert("wf", "r")
    await retyped(database, kind, using)
    store = PostgresStore(database.engine, await database.table())
    until = await store.last_running()
    assert until is not None
    rows = await store.scan_running(None, until, 10)
    report = PassReport(str(SOME), PassRequest("once"), started_at=NOW)
    await database.history().begin(report)

    done = await store.finish_if_running(report.pass_id, [outcome(row) for row in rows])

    assert len(done.ids) == len(rows) == 5
