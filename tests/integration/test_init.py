"""`reconciler init` writes settings that fit an application's table, or refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from reconciler.app.setup import suggest
from reconciler.core.errors import ConfigurationError
from reconciler.core.policy import StatusValues
from reconciler.postgres.table.mapping import map_table
from reconciler.postgres.table.names import TableMapping, TableNames
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from tests.conftest import Database
from tests.support.tables.shapes import JOBS, SHAPES

#: The mappings that it suggests for shapes, where they differ from the shapes' own.
UNDERSTOOD = {
    "text key, several running values, check, no message": TableMapping(JOBS),
    "no creation time, no completion time": TableMapping(TableNames("jobs", created_at=None)),
    "domains of everything": TableMapping(JOBS),
    "of several tenants and namespaces": TableMapping(JOBS),
}
#: The errors for shapes that it refuses.
REFUSED = {
    "quoted names, uuid key, enum, times without zone": (
        '"My App".Jobs.state has no value like running, only it\'s on, ok, bad: '
    ),
    "a boolean that may be null": (
        "jobs.status has no value like completed or failed, only false, true: "
    ),
    "a status by its uuid": (
        "jobs.status has no value like running or completed or failed, only "
        "7a1c8aa0-0000-4000-8000-000000000001, 7a1c8aa0-0000-4000-8000-000000000003: "
    ),
    "integer key, status as numbers, no run id": (
        "jobs.status has no value like running or completed or failed, only 0, 1: "
    ),
}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def suggested(database: Database, table: str | None = None) -> str:
    text, _ = await suggest(Settings(database_url=SecretStr(database.url)), table)
    return text


def read(text: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings, as the next command reads them."""
    Path("reconciler.toml").write_text(text)
    monkeypatch.setenv("DATABASE_URL", database.url)
    return load_settings(Settings)


@pytest.mark.parametrize("name", SHAPES.keys())
async def test_a_table_is_understood_or_refused(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    await empty_database.execute(SHAPES[name].sql)
    if name in REFUSED:
        with pytest.raises(ConfigurationError) as refused:
            await suggested(empty_database)
        assert (
            str(refused.value) == f"{REFUSED[name]}write reconciler.toml by hand (docs/tables.md)"
        )
        return

    text = await suggested(empty_database)

    mapping = read(text, empty_database, monkeypatch).table_mapping()
    assert mapping == UNDERSTOOD.get(name, SHAPES[name].mapping)
    await map_table(empty_database.engine, mapping, writing=False)


async def test_unusual_names_types_and_values(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await empty_database.execute(
        """
        CREATE SCHEMA "My App";
        CREATE TYPE "My App".state AS ENUM ('Queued', 'In Progress', 'Done', 'Error', 'Cancelled');
        CREATE TABLE "My App"."Order ""Jobs"".x" (key uuid PRIMARY KEY, "Temporal Workflow ID" text,
            "runId" text, job_state "My App".state, "Inserted-At" timestamp,
            "finished at" timestamptz, failure varchar(99), temporal_namespace text,
            "workflowType" text, last_run_id text);
        """
    )

    text = await suggested(empty_database)

    assert "key" in text.split("[columns]")[1].splitlines()[1]
    assert 'status = "job_state"  # "My App".state' in text
    assert 'created_at = "Inserted-At"  # timestamp without time zone' in text
    assert '# namespace = "temporal_namespace"' in text
    assert (
        '# If waiting rows may have a running workflow: running = ["Queued", "In Progress"]' in text
    )
    assert read(text, empty_database, monkeypatch).table_mapping() == TableMapping(
        TableNames(
            'Order "Jobs".x',
            "My App",
            "key",
            "Temporal Workflow ID",
            "runId",
            "job_state",
            "Inserted-At",
            "finished at",
            "failure",
            workflow_type="workflowType",
        ),
        StatusValues(("In Progress",), "Done", "Error", "Cancelled", "Error", "Error"),
    )


async def test_the_time_zone_of_a_column_without_one(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await empty_database.execute(
        "CREATE TABLE jobs (id int PRIMARY KEY, workflow_id text, status text,"
        " created_at timestamp DEFAULT timezone('Asia/Tokyo', now()))"
    )
    text = await suggested(empty_database)
    assert (
        'time_zone = "Asia/Tokyo"  # created_at has no time zone, its default is in this one'
        in text
    )
    mapping = read(text, empty_database, monkeypatch).table_mapping()
    assert mapping.time_zone == "Asia/Tokyo"
    await map_table(empty_database.engine, mapping, writing=False)

    await empty_database.execute("ALTER TABLE jobs ALTER created_at DROP DEFAULT")

    assert '\n# time_zone = "UTC"\n' in await suggested(empty_database)


async def test_a_column_with_only_a_similar_name_is_not_used(
    empty_database: Database,
) -> None:
    await empty_database.execute(
        "CREATE TABLE jobs (id int PRIMARY KEY, order_workflow_id text, last_run_id text,"
        " order_status text, created_at timestamptz)"
    )

    text = await suggested(empty_database)

    assert 'run_id = ""  # no such column' in text
    assert 'workflow_id = "order_workflow_id"' in text
    assert 'status = "order_status"' in text


JOB = "id int PRIMARY KEY, workflow_id text, run_id text, status text"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], ("running", "completed", "failed")),
        (["RUNNING", "COMPLETED"], ("RUNNING", "COMPLETED", "FAILED")),
        (["done", "done", "broken"], ("running", "done", "broken")),
    ],
    ids=["none yet", "in capitals", "none is running"],
)
async def test_a_value_that_no_row_has_is_a_guess(
    empty_database: Database, values: list[str], found: tuple[str, str, str]
) -> None:
    await empty_database.execute(f"CREATE TABLE jobs ({JOB})")
    for id_, value in enumerate(values):
        await empty_database.execute("INSERT INTO jobs VALUES ($1, 'w', 'r', $2)", id_, value)

    lines = (await suggested(empty_database)).splitlines()

    for what, value in zip(("running", "completed", "failed"), found, strict=True):
        guess = "" if value in values else "  # a guess: no row has it"
        assert f'{what} = "{value}"{guess}' in lines


@pytest.mark.parametrize(
    ("sql", "table", "refusal"),
    [
        (
            "CREATE TABLE jobs (id int PRIMARY KEY)",
            None,
            "no table has a column like workflow_id: name it with --workflow-id, or say how ids ",
        ),
        (
            f"CREATE TABLE a ({JOB}); CREATE SCHEMA s; CREATE TABLE s.b ({JOB})",
            None,
            "several tables have a column like workflow_id (a, s.b): name one, e.g. reconciler i",
        ),
        (f"CREATE TABLE a ({JOB})", "b", "there is no table b in this database: name another"),
        ("CREATE TABLE a (id int PRIMARY KEY, workflow_id text)", None, "a has no column like st"),
        (
            "CREATE TABLE a (id int PRIMARY KEY, workflow_id text, status text)",
            None,
            "a has no column like run_id or created_at, and needs one of them",
        ),
        (
            "CREATE TABLE a (id int, workflow_id text, run_id text, status text)",
            None,
            "a has no single-column key",
        ),
        (
            f"CREATE TABLE a ({JOB} CHECK (status IN ('running', 'completed')))",
            None,
            "a.status has no value like failed, only running, completed",
        ),
        (
            f"CREATE TABLE a ({JOB}); INSERT INTO a VALUES (1, '', '', 'done'), (2, '', '', 'x')",
            None,
            "a.status has no value like running or failed, only done, x",
        ),
    ],
)
async def test_an_unclear_table_is_refused(
    empty_database: Database, sql: str, table: str | None, refusal: str
) -> None:
    await empty_database.execute(sql)

    with pytest.raises(ConfigurationError) as refused:
        await suggested(empty_database, table)

    assert str(refused.value).startswith(refusal)


@pytest.mark.parametrize("table", ["s.b", "b"])
async def test_one_of_several_tables_can_be_named(empty_database: Database, table: str) -> None:
    await empty_database.execute(
        f"CREATE TABLE a ({JOB}); CREATE SCHEMA s; CREATE TABLE s.b ({JOB})"
    )

    assert 'table = "s.b"' in await suggested(empty_database, table)


async def test_the_time_of_the_last_change_is_left_to_a_trigger(empty_database: Database) -> None:
    await empty_database.execute(f"CREATE TABLE a ({JOB}, updated_at timestamptz)")
    alone = await suggested(empty_database)
    await empty_database.execute(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.updated_at := now(); RETURN NEW; END';"
        " CREATE TRIGGER touch BEFORE UPDATE ON a FOR EACH ROW EXECUTE FUNCTION touch()"
    )

    beside_trigger = await suggested(empty_database)

    assert '\nupdated_at = "updated_at"  # no trigger sets it\n' in alone
    assert '\n# updated_at = "updated_at"  # a trigger sets it\n' in beside_trigger
