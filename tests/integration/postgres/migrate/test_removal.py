"""What `migrate --remove` takes out again, and what it leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.errors import DatabaseUnfit, DatabaseUnusable
from reconciler.core.policy import StatusValues
from reconciler.postgres.migrate.removable import OtherTarget
from reconciler.postgres.migrate.removal import find_removal, remove
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.schema import OWN_SCHEMA
from reconciler.postgres.table.names import TableMapping, TableNames
from reconciler.postgres.table.row_filter import Condition, RowFilter
from tests.conftest import Database
from tests.support.tables.past import OURS, change, pass_over

MAPPING = TableMapping()
JOBS = TableMapping(TableNames(table="jobs"), StatusValues(running=("pending", "it's on: 9 %")))
TABLE = """
    CREATE TABLE {name} (id int PRIMARY KEY, workflow_id text, run_id text, status text,
        created_at timestamptz, error_message text)
"""
COLUMNS = """
    SELECT table_name, column_name, data_type FROM information_schema.columns
    WHERE table_schema = 'public' ORDER BY table_name, ordinal_position
"""
INDEXES = "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
TABLES = f"SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('{OWN_SCHEMA}')"


async def lines(database: Database, mapping: TableMapping, *, with_columns: bool) -> list[str]:
    return list((await find_removal(database.url, mapping, with_columns=with_columns)).lines())


@pytest.mark.parametrize("with_columns", [False, True])
async def test_takes_out_what_was_added_and_data_only_if_asked_to(
    empty_database: Database, with_columns: bool
) -> None:
    await empty_database.execute(TABLE.format(name="jobs"))
    columns, indexes = [await empty_database.fetch(query) for query in (COLUMNS, INDEXES)]
    await migrate(empty_database.url, JOBS)
    fitted = await empty_database.fetch(COLUMNS)
    await empty_database.execute("INSERT INTO jobs VALUES (1, 'wf', 'r', 'x', now(), 'e', now())")
    shown = await lines(empty_database, JOBS, with_columns=with_columns)

    left = await remove(empty_database.url, JOBS, with_columns=with_columns)

    assert left == []
    assert await empty_database.fetch(COLUMNS) == (columns if with_columns else fitted)
    assert await empty_database.fetch(INDEXES) == indexes
    assert await empty_database.fetch("SELECT to_regnamespace('reconciler') AS n") == [{"n": None}]
    assert len(await empty_database.fetch("SELECT FROM jobs WHERE error_message = 'e'")) == 1
    assert ("drops from jobs: completed_at, WITH ALL DATA IN THEM" in shown) is with_columns
    assert ("keeps in jobs: completed_at, which `migrate` has added" in shown) is not with_columns


async def test_keeps_a_table_that_migrate_made(database: Database) -> None:
    await database.insert("wf", "run-1", error_message="theirs by now")
    columns = await database.fetch(COLUMNS)

    await remove(database.url, MAPPING, with_columns=True)

    assert await database.fetch(COLUMNS) == columns
    assert len(await database.fetch("SELECT FROM workflow_executions")) == 1


async def test_keeps_the_index_on_a_table_of_other_settings(database: Database) -> None:
    await database.execute(TABLE.format(name="jobs"))
    await migrate(database.url, JOBS)

    await remove(database.url, JOBS, with_columns=False)

    names = [row["indexname"] for row in await database.fetch(INDEXES)]
    assert "reconciler_workflow_executions_running" in names
    assert "reconciler_jobs_running" not in names


async def test_shows_what_would_be_lost_and_who_is_at_it(database: Database) -> None:
    await change(database, await pass_over(database), 3)
    await pass_over(database)
    await database.execute(
        "INSERT INTO reconciler.lease VALUES ('t', 'n', 'pod-7', 1, 'infinity'), "
        "('t', 'm', 'pod-8', 1, now())"
    )

    assert await lines(database, MAPPING, with_columns=False) == [
        "drops the indexes on the running rows of workflow_executions",
        (
            "drops schema reconciler, with the history of 2 passes and the journal of 3 changes, "
            "of every table: none can be undone any more"
        ),
        "in use by pod-7: stop it first",
    ]


async def test_names_whose_records_are_lost_with_the_schema(database: Database) -> None:
    await pass_over(database)
    for scope in ("a", "b", "b"):
        await pass_over(database, of=(scope, "default"))

    _, _, others = await lines(database, MAPPING, with_columns=False)

    assert others.endswith("those of other reconcilers or settings: a (1 pass); b (2 passes)")


async def test_keeps_the_schema_for_a_target_that_uses_it_by_another_url(
    database: Database,
) -> None:
    """That of a pooler. Before its first pass, only its URL shows where it belongs."""
    of_one = TableMapping(where=RowFilter((Condition("tenant", ("1",)),)))
    by_pooler = OtherTarget("one", of_one, same_database=False, journal=True)
    without_journal = replace(by_pooler, same_database=True, journal=False)

    async def needed_by(*but: OtherTarget) -> tuple[str, ...]:
        found = await find_removal(database.url, MAPPING, with_columns=False, but=but)
        assert bool(found.own) is not bool(found.needed_by)
        return found.needed_by

    assert await needed_by(by_pooler, without_journal) == ()
    await pass_over(database, of=("workflow_executions where tenant = 1", "default"))
    assert await needed_by(by_pooler) == ("one",)


async def test_removes_all_records_of_one_target_and_none_of_others(database: Database) -> None:
    theirs = "workflow_executions where tenant = 1"
    other = OtherTarget("one", TableMapping(), same_database=True, journal=True)
    for scope, each in ((OURS[0], "a"), (theirs, "b")):
        await change(database, await pass_over(database, of=(scope, "default")))
        await database.execute(
            f"INSERT INTO reconciler.lease VALUES ('{scope}', 'n', '{each}', 1, 'infinity'),"
            f" ('{scope} (backfill)', 'n', '{each}', 1, now());"
            "INSERT INTO reconciler.closings VALUES"
            f" ('{scope}', 'n', 'completed', 'n', now(), now());"
            "INSERT INTO reconciler.stuck VALUES"
            f" ('{scope}', 'n', '1', 'w', 't', 'r', now(), now(), 'r', 't', 'c');"
            f"INSERT INTO reconciler.at_risk VALUES ('{scope}', 'n', '1', 'w', 'r', 't', now(),"
            " now())"
        )
    mapping = replace(MAPPING, where=RowFilter((Condition("tenant", ("1",)),)))
    found = await find_removal(database.url, mapping, with_columns=False, but=[other])
    assert found.holders == ("b",), "only a loop of its own has to be stopped"

    await remove(database.url, mapping, with_columns=False, but=[other])

    for table in ("passes", "lease", "closings", "stuck", "at_risk"):
        left = await database.fetch(f"SELECT DISTINCT table_name AS t FROM reconciler.{table}")
        assert {str(row["t"]).removesuffix(" (backfill)") for row in left} == {OURS[0]}, table
    assert len(await database.fetch("SELECT FROM reconciler.changes")) == 1
    again = await find_removal(database.url, mapping, with_columns=False, but=[other])
    assert not again


async def test_keeps_what_others_have_put_into_our_schema(database: Database) -> None:
    await database.execute("CREATE TABLE reconciler.theirs (id int)")

    left = await remove(database.url, MAPPING, with_columns=False)

    assert left == ["schema reconciler stays, because something else is in it"]
    assert await database.fetch(TABLES) == [{"relname": "theirs"}]


async def test_drops_nothing_of_ours_that_something_else_needs(database: Database) -> None:
    await database.execute("CREATE VIEW report AS SELECT * FROM reconciler.passes")
    before = [await database.fetch(query) for query in (TABLES, INDEXES)]

    with pytest.raises(DatabaseUnusable, match="other objects depend on"):
        await remove(database.url, MAPPING, with_columns=False)

    assert [await database.fetch(query) for query in (TABLES, INDEXES)] == before


async def test_a_schema_of_that_name_may_be_the_applications(empty_database: Database) -> None:
    await empty_database.execute(
        "CREATE SCHEMA reconciler; CREATE TABLE reconciler.passes (id int)"
    )

    assert not await find_removal(empty_database.url, MAPPING, with_columns=True)
    await remove(empty_database.url, MAPPING, with_columns=True)

    assert await empty_database.fetch(TABLES) == [{"relname": "passes"}]


async def test_a_later_version_is_left_alone(database: Database) -> None:
    await database.execute("UPDATE reconciler.alembic_version SET version_num = '0999'")

    with pytest.raises(DatabaseUnfit, match="knows none after 0007"):
        await find_removal(database.url, MAPPING, with_columns=False)


async def test_it_can_be_made_again(database: Database) -> None:
    await remove(database.url, MAPPING, with_columns=False)

    assert (await migrate(database.url, MAPPING))[0] == "schema reconciler: from nothing to 0007"


async def test_where_nothing_was_made_there_is_nothing_to_remove(empty_database: Database) -> None:
    await empty_database.execute(TABLE.format(name="jobs"))

    assert not await find_removal(empty_database.url, JOBS, with_columns=True)
    assert await remove(empty_database.url, JOBS, with_columns=True) == []
