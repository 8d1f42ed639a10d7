"""Triggers that come after RETURNING: those of a partition, of another table, of the journal."""

from __future__ import annotations

import pytest

from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.names import TableNames
from tests.conftest import Database
from tests.integration.postgres.rows.test_rejections import rows_of, trigger
from tests.integration.postgres.rows.test_what_rows_say import undo, write

JOBS = """
    CREATE TABLE jobs (id int, workflow_id text, run_id text, status text,
        created_at timestamptz DEFAULT now(), completed_at timestamptz, error_message text,
        PRIMARY KEY (id, status)) PARTITION BY LIST (status);
    CREATE TABLE jobs_on PARTITION OF jobs FOR VALUES IN ('running');
    CREATE TABLE jobs_off PARTITION OF jobs DEFAULT;
    INSERT INTO jobs VALUES (1, 'w', 'r', 'running'), (2, 'w', 'r', 'running'),
        (3, 'w', 'r', 'running');
    CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE jobs SET status = 'running' WHERE id = 2 AND status <> 'running';
        RETURN NULL; END $$;
"""
BACK = " EXECUTE FUNCTION back()"
#: Where rows are moved from one partition to the other.
MOVED = {
    "inserted": f"CREATE TRIGGER t AFTER INSERT ON jobs FOR EACH ROW{BACK}",
    "inserted into a partition": f"CREATE TRIGGER t AFTER INSERT ON jobs_off FOR EACH ROW{BACK}",
    "deleted from a partition": f"CREATE TRIGGER t AFTER DELETE ON jobs_on FOR EACH ROW{BACK}",
    "for the statement": "CREATE TRIGGER t AFTER UPDATE ON jobs REFERENCING NEW TABLE AS new"
    f" FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0){BACK}",
    "a constraint": "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON jobs_off"
    f" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW{BACK}",
    "of the journal": f"CREATE TRIGGER t AFTER INSERT ON reconciler.changes FOR EACH ROW{BACK}",
}
_NOTE = """
    CREATE TABLE notes (id int);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO notes VALUES (NEW.id); RETURN NEW; END $$;
    CREATE TRIGGER note BEFORE UPDATE ON jobs FOR EACH ROW WHEN (NEW.status <> 'running')
        EXECUTE FUNCTION note();
"""
#: Where the trigger is another table's.
ELSEWHERE = {
    "a deferred one": f"{_NOTE} CREATE CONSTRAINT TRIGGER t AFTER INSERT ON notes"
    f" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW{BACK}",
    "one of what refers to the row": "CREATE TABLE notes (id int, status text,"
    " FOREIGN KEY (id, status) REFERENCES jobs (id, status) ON UPDATE CASCADE);"
    f"INSERT INTO notes VALUES (2, 'running'); CREATE TRIGGER t AFTER UPDATE ON notes{BACK}",
}


async def jobs(database: Database, sql: str) -> PostgresStore:
    await database.execute(JOBS + sql)
    return PostgresStore(database.engine, await database.table(TableNames(table="jobs")))


@pytest.mark.parametrize("sql", [*MOVED.values(), *ELSEWHERE.values()], ids=[*MOVED, *ELSEWHERE])
async def test_a_status_that_is_put_back_later_is_seen(database: Database, sql: str) -> None:
    store = await jobs(database, sql)

    done, _ = await write(database, await store.scan_running(None, 3, 3), table="jobs")

    assert done.ids == {1, 3}
    assert done.refused == {2: "a trigger changed the status to 'running' after the update"}
    (row,) = await database.fetch("SELECT status, completed_at FROM jobs WHERE id = 2")
    assert row == {"status": "running", "completed_at": None}
    lines = await database.fetch("SELECT row_id FROM reconciler.changes ORDER BY id")
    assert {line["row_id"] for line in lines} == {"1", "3"}


@pytest.mark.parametrize("journalled", [True, False], ids=["journalled", "unjournalled"])
@pytest.mark.parametrize("name", ELSEWHERE)
async def test_a_table_that_is_not_partitioned(
    database: Database, name: str, *, journalled: bool
) -> None:
    plain = JOBS.replace(" PARTITION BY LIST (status)", "").split("CREATE TABLE jobs_on")
    rest = "INSERT" + plain[1].split("INSERT", 1)[1]
    await database.execute(
        plain[0].replace("PRIMARY KEY (id, status)", "PRIMARY KEY (id), UNIQUE (id, status)")
        + rest
        + ELSEWHERE[name]
    )
    store = PostgresStore(database.engine, await database.table(TableNames(table="jobs")))
    rows = await store.scan_running(None, 3, 3)

    done, _ = await write(database, rows, table="jobs", journalled=journalled)

    assert done.ids == {1, 3}
    assert list(done.refused) == [2]


async def test_where_no_index_finds_its_key_a_row_that_is_running_again_is_seen(
    database: Database,
) -> None:
    store = await jobs(
        database,
        "ALTER TABLE jobs DROP CONSTRAINT jobs_pkey;"
        f"ALTER TABLE jobs ADD PRIMARY KEY (status, id); {MOVED['inserted']}",
    )

    done, _ = await write(database, await store.scan_running(None, 3, 3), table="jobs")

    assert done.ids == {1, 3}
    assert list(done.refused) == [2]


DISABLED = "ALTER TABLE workflow_executions DISABLE TRIGGER t"


@pytest.mark.parametrize(
    "sql",
    [
        "",
        f"CREATE TRIGGER t AFTER INSERT OR DELETE ON workflow_executions{BACK}",
        f"CREATE TRIGGER t AFTER UPDATE ON workflow_executions{BACK};{DISABLED}",
        "CREATE TABLE notes (id bigint REFERENCES workflow_executions (id) ON UPDATE CASCADE)",
    ],
    ids=["no trigger", "of another event", "a disabled one", "a foreign key of the id"],
)
async def test_nothing_is_read_again_where_nothing_can_have_changed(
    database: Database, sql: str
) -> None:
    await database.execute(JOBS + sql)

    assert not (await database.table()).relation.has_triggers


CLIPS = (
    "BEGIN IF pg_trigger_depth() = 1 THEN UPDATE workflow_executions"
    " SET error_message = left(error_message, 6), completed_at = date_trunc('hour', completed_at)"
    " WHERE id = NEW.id; END IF; RETURN NULL; END"
)


async def test_what_an_after_trigger_makes_of_the_other_columns_is_journalled_and_undone(
    database: Database,
) -> None:
    rows = await rows_of(database, 3)
    before = await database.fetch("SELECT * FROM workflow_executions ORDER BY id")
    await trigger(database, CLIPS, when="OLD.id < 3", timing="AFTER")

    done, pass_id = await write(database, rows)

    assert len(done.ids) == 3
    lines = await database.fetch("SELECT * FROM reconciler.changes ORDER BY row_id")
    now = await database.fetch("SELECT * FROM workflow_executions ORDER BY id")
    for name in ("status", "completed_at", "error_message"):
        assert [line[f"new_{name}"] for line in lines] == [row[name] for row in now]
    assert lines[0]["new_error_message"] == "  boom"
    assert {line["temporal_status"] for line in lines} == {"FAILED"}
    assert (await undo(database, pass_id)).written == {"running": 3}
    assert await database.fetch("SELECT * FROM workflow_executions ORDER BY id") == before


async def test_what_an_after_trigger_makes_of_what_is_put_back_is_journalled(
    database: Database,
) -> None:
    rows = await rows_of(database, 1)
    _, pass_id = await write(database, rows)
    await trigger(
        database,
        "BEGIN IF pg_trigger_depth() = 1 THEN UPDATE workflow_executions SET error_message = 'x'"
        " WHERE id = NEW.id; END IF; RETURN NULL; END",
        when="true",
        timing="AFTER",
    )

    await undo(database, pass_id)

    (line,) = await database.fetch("SELECT * FROM reconciler.changes WHERE pass_id <> $1", pass_id)
    assert (line["temporal_status"], line["new_error_message"]) == ("UNDO", "x")


@pytest.mark.parametrize("bad", [{2}, {1, 2, 3}])
async def test_a_row_that_is_not_journalled_is_not_written(
    database: Database, bad: set[int]
) -> None:
    rows = await rows_of(database, 3)
    which = ", ".join(f"'{rows[n - 1].id}'" for n in bad)
    await database.execute(
        "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
        "CREATE TRIGGER skip BEFORE INSERT ON reconciler.changes FOR EACH ROW"
        f" WHEN (NEW.row_id IN ({which})) EXECUTE FUNCTION skip()"
    )

    done, _ = await write(database, rows)

    assert done.refused.keys() == {rows[n - 1].id for n in bad}
    assert "a trigger of reconciler.changes skipped it" in next(iter(done.refused.values()))
    assert len(done.ids) == 3 - len(bad)
    assert len(await database.fetch("SELECT FROM reconciler.changes")) == 3 - len(bad)
