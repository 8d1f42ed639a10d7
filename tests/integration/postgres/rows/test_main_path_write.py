"""The main path's statement: which row is the workflow's own, and that it is written only then."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from reconciler.core.policy import StatusValues
from reconciler.postgres.rows.main_path_write import main_path_write
from reconciler.postgres.table.mapping import MappedTable, map_table
from reconciler.postgres.table.names import TableMapping, TableNames
from reconciler.settings.where import read_where
from tests.conftest import Database
from tests.support.polling import eventually

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=36_500)


async def finish(database: Database, table: MappedTable | None = None, **others: Any) -> list[int]:
    """The ids that a report of workflow `w`, first run `ours`, has finished."""
    return await finished_by(database, table or await database.table(), given("w", **others))


async def finished_by(
    database: Database, table: MappedTable, values: Mapping[str, Any]
) -> list[int]:
    running = sa.select(table.id).where(table.is_running)
    async with database.engine.begin() as connection:
        before = set(await connection.scalars(running))
        (count, *_) = (await connection.execute(main_path_write(table), values)).one()
        finished = sorted(before - set(await connection.scalars(running))) if count else []
        assert len(finished) == count
        return finished


def given(workflow_id: str, **others: Any) -> dict[str, Any]:
    return {
        "given_workflow_id": workflow_id,
        "given_run_id": "ours",
        "given_namespace": "blue",
        "given_status": "failed",
        "given_message": "no money",
        "given_close_time": LATER,
        "given_started": LATER,
        **others,
    }


async def statuses(database: Database) -> list[object]:
    rows = await database.fetch("SELECT status FROM workflow_executions ORDER BY id")
    return [row["status"] for row in rows]


async def test_the_row_of_the_run(database: Database) -> None:
    id_ = await database.insert("w", "ours")

    assert await finish(database) == [id_]

    row = await database.row(id_)
    assert (row["status"], row["completed_at"], row["error_message"]) == (
        "failed",
        LATER,
        "no money",
    )


@pytest.mark.parametrize(
    ("kind", "none", "some"),
    [
        ("text", "", "no money"),
        ("jsonb", "{}", '{"why": "no money"}'),
        ("json", "{}", '{"why": "no money"}'),
    ],
)
async def test_a_message_that_is_never_null(
    database: Database, kind: str, none: str, some: str
) -> None:
    await database.execute(
        "ALTER TABLE workflow_executions DROP error_message,"
        f" ADD error_message {kind} NOT NULL DEFAULT '{{}}'"
    )
    await database.insert("w", "ours")
    await database.insert("v", "ours")
    mapping = TableMapping(message_key="why")
    table = await map_table(database.engine, mapping, writing=True)

    await finish(database, table, given_message=None)
    await finish(database, table, given_workflow_id="v")

    rows = await database.fetch("SELECT error_message::text AS it FROM workflow_executions")
    assert [row["it"] for row in rows] == [none, some]


async def test_another_run_and_another_workflow_are_left(database: Database) -> None:
    await database.insert("w", "theirs")
    await database.insert("v", "ours")
    await database.insert("v")

    assert await finish(database) == []
    assert await statuses(database) == ["running"] * 3


async def test_a_row_that_is_no_longer_running_is_left(database: Database) -> None:
    id_ = await database.insert("w", "ours", status="completed")

    assert await finish(database) == []
    assert (await database.row(id_))["error_message"] is None


async def test_without_a_run_id_the_youngest_row(database: Database) -> None:
    old = await database.insert("w", created_at=NOON - timedelta(days=1))
    young = await database.insert("w", created_at=NOON)
    await database.insert("w", created_at=NOON - timedelta(days=2))

    assert await finish(database) == [young]
    assert (await database.row(old))["status"] == "running"


async def test_a_row_made_after_the_end_is_for_a_later_workflow(database: Database) -> None:
    ours = await database.insert("w", created_at=NOON)
    await database.insert("w", created_at=NOON + timedelta(seconds=3))
    began = NOON - timedelta(hours=1)

    assert await finish(database, given_started=began, given_close_time=NOON) == [ours]


async def test_with_a_run_id_it_may_be_made_late(database: Database) -> None:
    ours = await database.insert("w", "ours", created_at=NOON)

    assert await finish(database, given_close_time=NOON - timedelta(days=1)) == [ours]


async def test_none_without_a_run_id_where_the_start_is_not_known(database: Database) -> None:
    await database.execute("ALTER TABLE workflow_executions ALTER created_at DROP NOT NULL")
    await database.insert("w", created_at=NOON - timedelta(days=9))
    await database.insert("w", created_at=None)

    assert await finish(database, given_started=None) == []

    ours = await database.insert("w", "ours")
    assert await finish(database, given_started=None) == [ours]


#: For a workflow that started at noon and took an hour.
STARTED: dict[str, Any] = {"given_started": NOON, "given_close_time": NOON + timedelta(hours=1)}


@pytest.mark.parametrize(
    ("seconds", "own"),
    [
        pytest.param([-3600, -60], -60, id="the youngest of those before the start"),
        pytest.param([-3600, 1], 1, id="one after it is within the skew"),
        pytest.param([-60, 60], -60, id="one before the start comes first"),
        pytest.param([30, 600, 1800], 30, id="the oldest of those after it"),
        pytest.param([600], 600, id="minutes after it"),
        pytest.param([-7200], -7200, id="hours before it"),
        pytest.param([60, 3700], 60, id="the next use's, made after the end"),
    ],
)
async def test_of_several_rows_without_a_run_id_one_is_the_workflows_own(
    database: Database, seconds: list[int], own: int
) -> None:
    made = {
        each: await database.insert("w", created_at=NOON + timedelta(seconds=each))
        for each in seconds
    }

    assert await finish(database, **STARTED) == [made[own]]
    assert await finish(database, **STARTED) == [], "another attempt finishes no other row"


@pytest.mark.parametrize(
    ("run_id", "made", "changed", "own"),
    [
        (None, -1, None, True),
        (None, 1, None, False),
        ("ours", 60, None, True),
        ("ours", -60, 1, True),
        ("ours", -60, 3, False),
        ("ours", 60, 60, True),
    ],
)
async def test_once_the_workflow_id_may_be_in_use_again(
    database: Database, run_id: str | None, made: int, changed: int | None, own: bool
) -> None:
    await database.execute("ALTER TABLE workflow_executions ADD changed_at timestamptz")
    table = await database.table(TableNames(updated_at="changed_at"))
    closed = STARTED["given_close_time"]
    row = await database.insert("w", run_id, created_at=closed + timedelta(seconds=made))
    since = None if changed is None else closed + timedelta(seconds=changed)
    await database.execute("UPDATE workflow_executions SET changed_at = $1", since)

    assert await finish(database, table, **STARTED, given_closed=closed) == [row] * own
    assert await finish(database, table, **STARTED) == [row] * (not own)


class TestInDoubt:
    """Without a run id nothing is written where two rows fit the workflow equally well."""

    @pytest.mark.parametrize(
        "seconds",
        [
            pytest.param([0, 0], id="of the same time"),
            pytest.param([-60, -60], id="of the same time before the start"),
            pytest.param([-1, 2], id="both within the skew"),
            pytest.param([-2, -1, 0], id="three"),
        ],
    )
    async def test_none_is_written(self, database: Database, seconds: list[int]) -> None:
        for each in seconds:
            await database.insert("w", created_at=NOON + timedelta(seconds=each))

        assert await finish(database, **STARTED) == []
        assert await self.in_doubt(database) == len(seconds)
        assert set(await statuses(database)) == {"running"}

    async def test_a_row_that_had_ended_before_is_no_rival(self, database: Database) -> None:
        before = NOON - timedelta(seconds=3)
        await database.insert("w", status="failed", created_at=before, completed_at=before)
        ours = await database.insert("w", created_at=NOON)

        assert await finish(database, **STARTED) == [ours]

    @pytest.mark.parametrize("ended", [None, NOON, NOON + timedelta(seconds=1)])
    async def test_one_that_has_ended_since_may_have_been_it(
        self, database: Database, ended: datetime | None
    ) -> None:
        # By an attempt of this very report, before the next use's row was made.
        await database.insert("w", status="completed", created_at=NOON, completed_at=ended)
        await database.insert("w", created_at=NOON + timedelta(seconds=2))

        assert await finish(database, **STARTED) == []

    async def test_without_times_there_is_nothing_to_tell_them_apart(
        self, database: Database
    ) -> None:
        await database.execute("ALTER TABLE workflow_executions ALTER created_at DROP NOT NULL")
        await database.insert("w", created_at=None)
        await database.insert("w", created_at=None)

        assert await finish(database) == []

    async def test_the_row_of_the_run_is_in_no_doubt(self, database: Database) -> None:
        ours = await database.insert("w", "ours", created_at=NOON)
        await database.insert("w", created_at=NOON)
        await database.insert("w", "theirs", created_at=NOON)

        assert await finish(database, **STARTED) == [ours]

    async def test_a_row_of_another_run_is_no_rival(self, database: Database) -> None:
        await database.insert("w", "theirs", created_at=NOON)
        ours = await database.insert("w", created_at=NOON)

        assert await finish(database, **STARTED) == [ours]

    async def test_in_a_table_without_run_ids(self, database: Database) -> None:
        table = await database.table(TableNames(run_id=None))
        await database.insert("w", "theirs", created_at=NOON)
        assert len(await finish(database, table, **STARTED)) == 1

        await database.insert("w", "ours", created_at=NOON + timedelta(seconds=2))
        assert await finish(database, table, **STARTED) == []

    async def test_where_no_column_says_when_a_row_ended(self, database: Database) -> None:
        table = await database.table(TableNames(completed_at=None))
        await database.insert("w", status="completed", created_at=NOON)
        await database.insert("w", created_at=NOON)

        assert await finish(database, table, **STARTED) == []

    async def in_doubt(self, database: Database) -> int:
        statement = main_path_write(await database.table())
        async with database.engine.begin() as connection:
            counts = (await connection.execute(statement, given("w", **STARTED))).one()
            assert counts[0] == 0
            return int(counts[1])


async def test_a_row_without_a_time_may_be_of_any(database: Database) -> None:
    await database.execute("ALTER TABLE workflow_executions ALTER created_at DROP NOT NULL")
    await database.insert("w", created_at=NOON)
    await database.insert("w", created_at=None)

    assert await finish(database) == []


async def test_twice_is_as_once(database: Database) -> None:
    # An activity may run again after its first attempt was committed: the older row is not its.
    old = await database.insert("w", created_at=NOON - timedelta(days=1))
    await database.insert("w", created_at=NOON)

    await finish(database)

    assert await finish(database) == []
    assert (await database.row(old))["status"] == "running"


async def test_the_run_id_comes_before_age(database: Database) -> None:
    ours = await database.insert("w", "ours", created_at=NOON - timedelta(days=1))
    await database.insert("w", created_at=NOON)

    assert await finish(database) == [ours]


async def test_an_empty_run_id_is_none(database: Database) -> None:
    old = await database.insert("w", "", created_at=NOON - timedelta(days=1))
    young = await database.insert("w", "", created_at=NOON)

    assert await finish(database, **STARTED) == [young]

    await database.insert("w", created_at=NOON + timedelta(seconds=2))
    assert await finish(database, **STARTED) == [], "two fit"
    assert (await database.row(old))["status"] == "running"


async def test_all_rows_of_the_run(database: Database) -> None:
    # The activity that inserts them was retried.
    first = await database.insert("w", "ours", created_at=NOON - timedelta(days=1))
    await database.insert("w", "ours", status="failed")
    last = await database.insert("w", "ours", created_at=NOON)
    await database.insert("w", created_at=NOON)

    assert await finish(database) == [first, last]


async def test_where_the_run_has_its_row_no_other_is_taken(database: Database) -> None:
    await database.insert("w", "ours", status="completed", created_at=NOON)
    await database.insert("w", created_at=NOON)

    assert await finish(database) == []
    assert await statuses(database) == ["completed", "running"]


@pytest.mark.parametrize(
    ("run_id", "taken"),
    [
        pytest.param("ours", True, id="its own"),
        pytest.param("theirs", False, id="another's"),
    ],
)
async def test_waits_for_the_application_that_stores_a_run_id(
    database: Database, run_id: str, taken: bool
) -> None:
    id_ = await database.insert("w")
    application = await asyncpg.connect(database.url)
    try:
        transaction = application.transaction()
        await transaction.start()
        await application.execute("UPDATE workflow_executions SET run_id = $1", run_id)
        write = asyncio.create_task(finish(database))
        await eventually(lambda: waiting(database))
        await transaction.commit()

        assert await write == ([id_] if taken else [])
    finally:
        await application.close()


async def waiting(database: Database) -> bool:
    rows = await database.fetch(
        "SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return bool(rows)


@pytest.mark.parametrize(
    "key", ["bigint GENERATED ALWAYS AS IDENTITY", "uuid DEFAULT gen_random_uuid()"]
)
async def test_any_mapped_table(empty_database: Database, key: str) -> None:
    await empty_database.execute("CREATE TYPE state AS ENUM ('open', 'done', 'broken')")
    await empty_database.execute(
        f'CREATE TABLE "Jobs" ("key" {key} PRIMARY KEY, wf varchar(50), first_run uuid,'
        " state state, born timestamp, ended timestamp, reason varchar(20))"
    )
    run = "01a209b5-e769-72f7-80f4-33abced35bc4"
    await empty_database.execute(
        f"INSERT INTO \"Jobs\" (wf, first_run, state, born) VALUES ('w', '{run}', 'open', now())"
    )
    names = TableNames("Jobs", None, "key", "wf", "first_run", "state", "born", "ended", "reason")
    table = await empty_database.table(names, StatusValues(("open",), "done", *["broken"] * 4))

    written = await finish(empty_database, table, given_run_id=run, given_status="broken")

    assert len(written) == 1
    assert await empty_database.fetch('SELECT state::text, ended, reason FROM "Jobs"') == [
        {"state": "broken", "ended": LATER.replace(tzinfo=None), "reason": "no money"}
    ]


@pytest.mark.parametrize("type_", ["text", "varchar(200)", "uuid"])
async def test_the_index_that_migrate_makes_serves(database: Database, type_: str) -> None:
    await database.execute(
        f"ALTER TABLE workflow_executions ALTER workflow_id TYPE {type_} USING workflow_id::{type_}"
    )
    await database.execute(
        "INSERT INTO workflow_executions (workflow_id, run_id)"
        f" SELECT md5(n::text)::{type_}, 'r' || n FROM generate_series(1, 5000) n"
    )
    await database.execute("ALTER TABLE workflow_executions ADD space text, ADD tenant int")
    await database.execute("ANALYZE workflow_executions")
    statuses, of_seven = StatusValues(("pending", "running")), read_where("tenant=7")
    for mapping in ((), (TableNames(namespace="space"), statuses, of_seven)):
        table = await database.table(*mapping)
        compiled = main_path_write(table).compile(dialect=database.engine.dialect)
        values = {**compiled.params, **given("8f14e45fceea167a5a36dedd4bea2543")}  # md5 of 7

        async with database.engine.connect() as connection:
            plan = await connection.exec_driver_sql(
                f"EXPLAIN {compiled}", tuple(values[name] for name in compiled.positiontup or ())
            )
            lines = "\n".join(plan.scalars())

        assert "ix_workflow_executions_workflow_id" in lines
        assert "Seq Scan" not in lines


async def test_without_a_run_id_a_row_must_name_the_namespace(database: Database) -> None:
    await database.execute("ALTER TABLE workflow_executions ADD space text")
    table = await database.table(TableNames(namespace="space"))
    await database.insert("w", space="green")
    await database.insert("w")
    assert await finish(database, table) == [], "it may be of the reconciler's own namespace"

    own = await database.insert("w", space="blue")
    assert await finish(database, table) == [own]


async def test_where_a_row_that_passes_do_not_cover_has_the_run_no_other_is_taken(
    database: Database,
) -> None:
    await database.execute("ALTER TABLE workflow_executions ADD deleted_at timestamptz")
    table = await database.table(TableNames(), StatusValues(), read_where("deleted_at is null"))
    deleted = await database.insert("w", "ours", deleted_at=NOON)
    own = await database.insert("w")
    assert await finish(database, table) == []

    await database.execute("UPDATE workflow_executions SET run_id = NULL WHERE id = $1", deleted)
    assert await finish(database, table) == [own]


async def test_if_the_zone_is_not_known_no_row_is_nearer_than_another(database: Database) -> None:
    await database.execute(
        "ALTER TABLE workflow_executions ALTER created_at DROP DEFAULT,"
        " ALTER created_at TYPE timestamp"
    )
    table, local = await database.table(), NOON.replace(tzinfo=None)
    times = {"given_started": NOON, "given_close_time": NOON + timedelta(hours=1)}
    await database.insert("w", created_at=local - timedelta(hours=2))
    its = await database.insert("w", created_at=local + timedelta(hours=2))
    assert await finish(database, table, **times) == [], "in Berlin the second one is nearer"

    await database.execute("UPDATE workflow_executions SET workflow_id = 'v' WHERE id <> $1", its)
    assert await finish(database, table, **times) == [its]


async def test_with_a_run_id_a_row_may_name_no_namespace_but_no_other(database: Database) -> None:
    await database.execute("ALTER TABLE workflow_executions ADD space text")
    table = await database.table(TableNames(namespace="space"))
    await database.insert("w", "ours", space="green")
    own = await database.insert("w", "ours")

    assert await finish(database, table) == [own]


async def test_without_creation_times_a_row_is_known_by_its_run_id_alone(
    database: Database,
) -> None:
    table = await database.table(TableNames(created_at=None))
    await database.insert("w")
    assert await finish(database, table) == [], "it may be for the next use of the id"

    own = await database.insert("w", "ours")
    assert await finish(database, table) == [own]
