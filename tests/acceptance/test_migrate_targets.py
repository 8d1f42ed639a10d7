"""`migrate` for several targets: two statuses of one table, and a database of their own."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.terminal import at_terminal
from tests.support.tables.past import pass_over

CONFIG = """
[targets.orders]
table = "jobs"

[targets.exports]
table = "jobs"
[targets.exports.columns]
workflow_id = "export_id"
status = "export_status"
completed_at = "exported_at"
error_message = ""

[targets.paid]
table = "jobs"
where = "tenant=1"
[targets.paid.columns]
status = "payment"
[targets.unpaid]
table = "jobs"
where = "tenant=2"
[targets.unpaid.columns]
status = "payment"
"""
EXPORTS = "jobs by export_id, export_status where export_status = running"
TABLE = """
    CREATE TABLE jobs (id bigint PRIMARY KEY, workflow_id text, run_id text, status text,
        export_id text, export_status text, payment text, tenant int, created_at timestamptz)
"""


@pytest.fixture
async def jobs(empty_database: Database, reconciler: Command) -> Database:
    await empty_database.execute(TABLE)
    (reconciler.folder / "reconciler.toml").write_text(CONFIG)
    return empty_database


async def indexes(database: Database) -> dict[object, str]:
    found = await database.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename='jobs'"
    )
    return {row["indexname"]: str(row["indexdef"]) for row in found}


async def test_sql_of_all_targets_does_what_migrate_does(
    jobs: Database, reconciler: Command
) -> None:
    printed = await reconciler("migrate", "--sql", DATABASE_URL=jobs.url)
    assert (printed.code, printed.err) == (0, "")
    headings = re.findall("^-- target ([a-z]+), database ", printed.out, re.MULTILINE)
    assert headings == ["orders", "exports", "paid", "unpaid"]
    async with jobs.pool.acquire() as connection:
        for statement in re.sub("^--.*", "", printed.out, flags=re.MULTILINE).split(";\n"):
            if statement.strip():
                await connection.execute(statement)
    built = await indexes(jobs)

    again = await reconciler("migrate", DATABASE_URL=jobs.url)

    up_to_date = "nothing to do: up to date\n"
    assert again.out == "\n".join(f"{name}:\n{up_to_date}" for name in headings)
    where = [f"WHERE ({status} = 'running'" for status in ("status", "export_status", "payment")]
    by_key = [index for index in built.values() if "USING btree (id) WHERE" in index]
    assert [sum(each in index for index in by_key) for each in where] == [1, 1, 1]
    assert len(built) == 1 + 2 * 3, "a primary key; two targets with one status share theirs"


async def test_each_target_is_migrated_and_its_own_part_removed(
    jobs: Database, reconciler: Command
) -> None:
    async def migrate(*arguments: str) -> str:
        result = await reconciler("migrate", *arguments, DATABASE_URL=jobs.url)
        assert (result.code, result.err) == (0, "")
        return result.out

    done = await migrate()
    assert "exports:\ntable jobs: added column exported_at\ntable jobs: built index " in done
    assert "kept index" not in done
    for scope in ("jobs", EXPORTS):
        await pass_over(jobs, of=(scope, "default"))
    all_indexes = await indexes(jobs)

    paid = await migrate("--remove", "--target", "paid", "--yes")
    assert "nothing to remove\nkeeps schema reconciler, needed by targets orders, exports, " in paid
    assert paid.count("that another target needs too") == 2
    assert await indexes(jobs) == all_indexes
    exports = await migrate("--remove", "--target", "exports", "--yes", "--drop-columns")
    assert exports == (
        "drops the indexes on the running rows of jobs\n"
        "drops from jobs: exported_at, WITH ALL DATA IN THEM\n"
        f"removes the history of 1 pass and the journal of 0 changes, of {EXPORTS}: none can be "
        "undone any more\n"
        "keeps schema reconciler, needed by targets orders, paid, unpaid\n"
        "dropped\n"
    )
    assert len(await indexes(jobs)) == len(all_indexes) - 2
    (left,) = await jobs.fetch("SELECT table_name FROM reconciler.passes")
    assert left["table_name"] == "jobs"

    every = await migrate("--remove", "--yes")
    assert every.count("keeps schema reconciler") == 3
    assert every.endswith(
        "unpaid:\ndrops the indexes on the running rows of jobs\n"
        "drops schema reconciler, with the history of 0 passes and the journal of 0 changes, of "
        "every table: none can be undone any more\n"
        "keeps in jobs: completed_at, error_message, which `migrate` has added\ndropped\n"
    )
    assert list(await indexes(jobs)) == ["jobs_pkey"]


async def test_the_question_says_whether_the_schema_goes_and_a_no_keeps_it(
    jobs: Database, reconciler: Command
) -> None:
    command = replace(reconciler, environment={"DATABASE_URL": jobs.url})
    (command.folder / "reconciler.toml").write_text(CONFIG.partition("[targets.paid]")[0])
    assert (await command("migrate")).code == 0
    async with at_terminal(command, "migrate", "--remove") as terminal:
        await terminal.prints("Drop this of target orders? [y/N]")
        terminal.type("n\n")
        await terminal.prints("keeps schema reconciler, needed by target orders")
        await terminal.prints("Drop this of target exports? [y/N]")
        terminal.type("y\n")
        assert await terminal.code() == 0
    (command.folder / "reconciler.toml").write_text('[targets.orders]\ntable = "jobs"')
    async with at_terminal(command, "migrate", "--remove") as terminal:
        await terminal.prints("Drop this of target orders, and the schema reconciler? [y/N]")
        terminal.type("y\n")
        assert await terminal.code() == 0
