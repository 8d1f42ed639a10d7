"""Workflow ids that are composed of columns: everything finds exactly the rows of an id."""

from __future__ import annotations

from uuid import uuid4

import pytest

from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.core.undo import UndoReport
from reconciler.passes.undo import run_undo
from reconciler.postgres.diagnose.read_plan import plan_lookup
from reconciler.postgres.journal.undo import PostgresUndo
from reconciler.postgres.rows.lookup.running import RunningOf
from reconciler.postgres.rows.lookup.stored import find_rows
from reconciler.postgres.rows.main_path_write import main_path_write
from reconciler.postgres.rows.rivals import arrays, is_indexed, select_rivals
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.checks.table import TableUnfit
from reconciler.postgres.table.mapping import MappedTable, map_table
from reconciler.postgres.table.names import TableMapping, TableNames
from tests.conftest import Database, made_database
from tests.integration.postgres.rows.test_main_path_write import given
from tests.integration.postgres.rows.test_rivals import ending, rivals
from tests.support.factories import NOW, outcome
from tests.support.servers.debian_postgres import INSTALLED, debian_postgres

ID = "7a1c8aa0-0000-4000-8000-00000000000b"
TIME = "2026-03-01T02:00:05Z"
NOT_ITS_TIMES = [
    f"{ID}-{time}"
    for time in ("2026-03-01T02:00:05+00:00", "2026-03-01 02:00:05+00", "2026-03-01T03:00:05Z")
]
#: Whatever PostgreSQL, SQLAlchemy or Python could take for something else.
ODD = 'it\'s 100% %(x)s :y $1 \\ "z" ü'


async def jobs(database: Database, columns: str, template: str, *rows: str) -> MappedTable:
    """A table with these columns and rows, whose run id is `last`."""
    await database.execute(
        "CREATE TYPE kind AS ENUM ('full', 'delta'); CREATE TABLE jobs (id serial PRIMARY KEY,"
        " run_id text DEFAULT 'last', status text DEFAULT 'running',"
        " created_at timestamptz DEFAULT now(), completed_at timestamptz, error_message text,"
        f" {columns}); CREATE VIEW new AS SELECT {_names(columns)} FROM jobs"
    )
    for row in rows:
        await database.execute(f"INSERT INTO new VALUES ({row})")
    return await database.table(TableNames(table="jobs", workflow_id=template))


def _names(columns: str) -> str:
    return ", ".join(column.rpartition(" ")[0] for column in columns.split(", "))


async def found(database: Database, table: MappedTable, workflow_id: str) -> int:
    """How many rows of an id `explain`, the main path, passes, the feed and a rival find."""
    explained = [each.row.id for each in await find_rows(database.engine, table, workflow_id)]
    (others,) = await rivals(database, table, ending(-1, workflow_id))
    values = given(workflow_id, given_run_id="last", given_started=None)
    values |= table.workflow_ids.parameters([workflow_id])
    async with database.engine.connect() as connection:
        (reported, *_) = (await connection.execute(main_path_write(table), values)).one()
        await connection.rollback()
    store = PostgresStore(database.engine, table)
    scanned = await store.scan_running(None, 1000, 1000)
    finder = RunningOf(database.engine, table)
    looked_up = await finder.read([workflow_id, "another", workflow_id])

    assert sorted(each.row.id for each in others) == explained
    assert [row.id for row in scanned if row.workflow_id == workflow_id] == explained
    assert sorted(row.id for row in looked_up) == explained
    assert reported == len(explained)
    return len(explained)


@pytest.mark.parametrize(
    ("columns", "template", "row", "own", "others"),
    [
        ("job uuid", "sync-{job}", f"'{ID}'", f"sync-{ID}", [f"sync-{ID.upper()}", ID]),
        ("job uuid", "job", f"'{ID}'", ID, [ID.upper(), "x"]),
        ("job int", "sync-{job}", "7", "sync-7", ["sync-07", "sync-+7", "sync-7 ", "Sync-7"]),
        ("job smallint", "job", "-7", "-7", ["7", "-07", "99999", "-7x"]),
        ("a text, b text", "{a}-{b}", "'x-y', 'z'", "x-y-z", ["x--y-z", "x-y-z-"]),
        ("a text, b int", "{a}-{b}", "'x-', 7", "x--7", ["x-7", "x--07"]),
        ("a text, b text, c text", "{a}/{b}/{c}", "'x', '/', 'y'", "x///y", ["x//y"]),
        ("a kind, b varchar(9)", "{a}:{b}", "'full', 'ü'", "full:ü", ["delta:ü", "x:ü"]),
        ("a kind", "a", "'full'", "full", ["delta", "x"]),
        ('"Job Id" bigint', "{{" + ODD + "}}{Job Id}", "1", "{" + ODD + "}1", [ODD + "1"]),
        ("a uuid, b timestamptz", "{a}-{b}", f"'{ID}', '{TIME}'", f"{ID}-{TIME}", NOT_ITS_TIMES),
        ("a uuid, b timestamp", "{a}-{b}", f"'{ID}', '{TIME}'", f"{ID}-{TIME}", NOT_ITS_TIMES),
        ("a timestamptz", "at-{a}", "'0044-03-15T00:00:00Z'", "at-0044-03-15T00:00:00Z", []),
        ("a int", "{a}/again/{a}", "1", "1/again/1", ["1/again/2", "2/again/1"]),
    ],
)
async def test_a_row_counts_only_if_the_id_is_composed_of_it(
    database: Database, columns: str, template: str, row: str, own: str, others: list[str]
) -> None:
    table = await jobs(database, columns, template, row)

    assert await found(database, table, own) == 1
    for other in others:
        assert await found(database, table, other) == 0, other


async def test_every_way_to_split_an_id_is_tried(database: Database) -> None:
    rows = ("'a', 'b-c'", "'a-b', 'c'", "'a', 'b'", "'b', 'c'", "'a-b-c', ''")
    table = await jobs(database, "a text, b text", "{a}-{b}", *rows)

    assert await found(database, table, "a-b-c") == 2


@pytest.mark.parametrize(
    "row",
    [
        *("NULL, 7, now()", "'', 7, now()", "'x', NULL, now()", "'x', 7, NULL"),
        *(f"'x', 7, '{time}'" for time in (f"{TIME[:-1]}.5Z", "0044-03-15 BC", "infinity")),
    ],
)
async def test_without_one_of_its_columns_there_is_no_workflow_id(
    database: Database, row: str
) -> None:
    columns = "a text, b int, c timestamptz(6)"
    table = await jobs(database, columns, "{a}-{b}-{c}", row.replace("now()", f"'{TIME}'"))

    (read,) = await PostgresStore(database.engine, table).scan_running(None, 9, 9)

    assert read.workflow_id == ""
    for other in (f"-7-{TIME}", f"x--{TIME}", "x-7-", f"x-7-{TIME}", "x-7-0044-03-15T00:00:00Z"):
        assert await find_rows(database.engine, table, other) == []


async def test_a_pass_writes_a_row_only_while_it_composes_the_same_id(database: Database) -> None:
    table = await jobs(database, "batch int, part int", "export/{batch}/{part}", "1, 2", "1, 3")
    store = PostgresStore(database.engine, table)
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=NOW)
    await database.history().begin(report)
    rows = await store.scan_running(None, 9, 9)
    await database.execute("UPDATE jobs SET part = 4 WHERE part = 3")

    done = await store.finish_if_running(report.pass_id, [outcome(row) for row in rows])

    assert (set(done.ids), dict(done.refused)) == ({1}, {})
    (change,) = await database.fetch("SELECT row_id, workflow_id FROM reconciler.changes")
    assert change == {"row_id": "1", "workflow_id": "export/1/2"}
    undo = UndoReport(str(uuid4()), PassRequest("undo"), started_at=NOW, undone=report.pass_id)
    await run_undo(PostgresUndo(database.engine, table), database.history(), undo, 10)
    assert (undo.error, dict(undo.written), undo.left) == (None, {"running": 1}, {})


@pytest.mark.parametrize(
    ("index", "serves"),
    [
        *(("batch, part", True), ("part", True), ("zoned", True), ("zoneless", True)),
        *(("status, batch", False), ("run_id", False)),
    ],
)
async def test_an_index_on_its_columns_finds_an_id(
    database: Database, index: str, serves: bool
) -> None:
    columns = "batch text, part int, zoned timestamptz, zoneless timestamp"
    table = await jobs(database, columns, "export/{batch}/{part}/{zoned}/{zoneless}")
    await database.execute(
        "INSERT INTO new SELECT 'b-' || n % 100, n, to_timestamp(n), to_timestamp(n)"
        " AT TIME ZONE 'UTC' FROM generate_series(1, 20000) n;"
        f"CREATE INDEX ON jobs ({index}); ANALYZE jobs"
    )
    ids = [f"export/b-{n % 100}/{n}" + f"/1970-01-01T00:00:{n:02}Z" * 2 for n in range(1, 50)]
    endings = [ending(number, each) for number, each in enumerate(ids, 1)]
    parts = table.workflow_ids.parameters(ids[6:7])
    statements = [
        (select_rivals(table), arrays(table, endings)),
        (main_path_write(table), {**given(ids[6]), **parts}),
    ]

    assert await is_indexed(database.engine, table) is serves
    for statement, values in statements:
        explained = statement.params(values).compile(dialect=database.engine.dialect)
        plan = await database.fetch(f"EXPLAIN {explained}", *explained.params.values())
        assert not (serves and "Seq Scan on jobs" in str(plan))


@pytest.mark.parametrize("kind", ["date", "numeric", "char(9)", "jsonb", "boolean", "text[]"])
async def test_a_type_with_several_texts_per_value_is_refused(
    database: Database, kind: str
) -> None:
    with pytest.raises(
        TableUnfit, match="must be text, varchar, an enum, an integer, a uuid or a timestamp"
    ):
        await jobs(database, f"a {kind}", "sync-{a}")


async def test_a_column_that_is_not_there_is_named(database: Database) -> None:
    with pytest.raises(TableUnfit) as refused:
        await jobs(database, "a int", "sync-{a}/{b}")

    assert str(refused.value) == ("table jobs has no column b: set RECONCILER_COLUMNS__WORKFLOW_ID")


@pytest.mark.skipif(not INSTALLED, reason="the tests' own PostgreSQL has no ICU")
@pytest.mark.parametrize("kind", ["text COLLATE any_case", "citext"])
async def test_a_column_that_ignores_case_makes_no_two_ids_equal(kind: str) -> None:
    with debian_postgres(INSTALLED[-1]) as url:
        async with made_database(url) as database:
            await database.execute(
                "CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2',"
                " deterministic = false); CREATE EXTENSION citext;"
                f"CREATE TABLE jobs (id int PRIMARY KEY, wf {kind},"
                " status text); INSERT INTO jobs VALUES (1, 'w', 'running');"
                "CREATE INDEX ON jobs (wf)"
            )
            for template, prefix in (("wf", ""), ("a-{wf}", "a-")):
                names = TableNames(table="jobs", workflow_id=template, run_id=None, created_at=None)
                table = await map_table(database.engine, TableMapping(names), writing=False)

                assert len(await find_rows(database.engine, table, f"{prefix}w")) == 1
                assert await find_rows(database.engine, table, f"{prefix}W") == []
                rows = await RunningOf(database.engine, table).read(
                    [f"{prefix}{each}" for each in "WwW"]
                )
                assert [row.workflow_id for row in rows] == [f"{prefix}w"]
                assert (await plan_lookup(database.engine, table)).servable
