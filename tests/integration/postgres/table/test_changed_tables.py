"""Tables that are changed under a running loop, and names that look like something else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.policy import StatusValues
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.rows.remapped import RemappedStore
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import map_table
from reconciler.postgres.table.names import TableMapping, TableNames
from reconciler.postgres.table.row_filter import Condition, RowFilter
from reconciler.settings.where import read_where
from tests.conftest import Database
from tests.support.factories import closed, policy
from tests.support.passes.bench import reconcile, scripted


def passes_over(database: Database) -> Callable[[], Awaitable[PassReport]]:
    """Passes of one process."""
    make = partial(PostgresStore, database.engine)

    async def run() -> PassReport:
        store = RemappedStore(database.engine, TableMapping(), make)
        return await reconcile(store, scripted(closed()), history=database.history())

    return run


INSERT = "INSERT INTO workflow_executions (workflow_id, run_id) VALUES ('wf', 'r')"
CHANGES = {
    "larger keys": (
        "ALTER TABLE workflow_executions ALTER id TYPE bigint",
        (
            "INSERT INTO workflow_executions (id, workflow_id, run_id) OVERRIDING SYSTEM"
            " VALUE VALUES (3000000000, 'wf', 'r')"
        ),
    ),
    "an enum for the status": (
        (
            "DROP INDEX reconciler_workflow_executions_running,"
            " reconciler_workflow_executions_workflow_id;"
            "CREATE TYPE state AS ENUM ('running', 'completed', 'failed');"
            "ALTER TABLE workflow_executions ALTER status DROP DEFAULT,"
            " ALTER status TYPE state USING status::state, ALTER status SET DEFAULT 'running'"
        ),
        INSERT,
    ),
    "times without a zone": (
        "ALTER TABLE workflow_executions ALTER completed_at TYPE timestamp",
        INSERT,
    ),
    "another table of that name": (
        (
            "ALTER TABLE workflow_executions RENAME TO old_ones;"
            "CREATE TABLE workflow_executions (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
            " workflow_id text, run_id uuid, status text DEFAULT 'running', created_at timestamptz"
            " DEFAULT now(), completed_at timestamptz, error_message varchar(20))"
        ),
        "INSERT INTO workflow_executions (workflow_id, run_id) VALUES ('wf', gen_random_uuid())",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_the_next_pass_takes_the_table_as_it_is_by_then(
    database: Database, name: str
) -> None:
    change, insert = CHANGES[name]
    await database.execute("ALTER TABLE workflow_executions ALTER id TYPE int")
    run = passes_over(database)
    await database.insert("wf", "r")
    assert (await run()).changed == 1
    await database.execute(change)
    await database.execute(insert)

    report = await run()

    assert (report.error, report.changed, report.tally.lost_races) == (None, 1, 0)
    (row,) = await database.fetch("SELECT completed_at AS at FROM workflow_executions LIMIT 1")
    assert row["at"] is not None


async def test_what_no_longer_fits_is_reported_as_at_the_start_and_ends_the_pass(
    database: Database,
) -> None:
    run = passes_over(database)
    await database.execute("ALTER TABLE workflow_executions RENAME status TO state")

    report = await run()

    assert report.outcome is PassOutcome.ABORTED
    assert "has no column status: set RECONCILER_COLUMNS__STATUS" in (report.error or "")
    await database.execute("ALTER TABLE workflow_executions RENAME state TO status")
    assert (await run()).outcome is PassOutcome.OK


@pytest.mark.parametrize("action", ["DO ALSO SELECT 1", "WHERE OLD.id = 5 DO INSTEAD NOTHING"])
async def test_rules_are_reported_at_the_start(database: Database, action: str) -> None:
    await database.execute(f"CREATE RULE audit AS ON UPDATE TO workflow_executions {action}")

    with pytest.raises(DatabaseUnfit, match=r"rules on UPDATE .* \(audit\).*DROP RULE audit ON"):
        await database.table()

    await database.table(writing=False)
    await database.execute("ALTER TABLE workflow_executions DISABLE RULE audit")
    await database.table()


async def test_rules_on_other_commands_do_no_harm(database: Database) -> None:
    await database.execute(
        "CREATE RULE keep AS ON DELETE TO workflow_executions DO INSTEAD NOTHING"
    )

    await database.table()


async def test_types_are_recognised_whatever_is_quoted(database: Database) -> None:
    (row,) = await database.fetch("SELECT current_database() AS name")
    await database.execute(f"ALTER DATABASE {row['name']} SET quote_all_identifiers = on")
    await database.pool.expire_connections()
    await database.engine.dispose()
    await database.insert("wf", "r")

    assert (await passes_over(database)()).changed == 1


ODD = ["a:name", ":given_id", "100%", "%s", "%%", "$1", "a\"b'c", "{x}", "\\", "a?b"]


@pytest.mark.parametrize("odd", ODD)
async def test_names_and_values_that_look_like_parameters(database: Database, odd: str) -> None:
    quoted, value = '"' + odd.replace('"', '""') + '"', odd.replace("'", "''")
    await database.execute(
        f"CREATE TABLE {quoted} (id int PRIMARY KEY, {quoted} text, status text, made timestamptz,"
        " completed_at timestamptz, error_message text, part text);"
        f"INSERT INTO {quoted} VALUES"
        f" (1, 'wf', '{value}', '2026-11-23 10:59+00', NULL, NULL, '{value}')"
    )
    workflow_id = "part" if "{" in odd else odd  # it would be a template
    names = TableNames(table=odd, workflow_id=workflow_id, run_id=None, created_at="made")
    statuses = StatusValues((odd,), f"{odd} done")
    mapping = TableMapping(names, statuses, RowFilter((Condition("part", (odd,)),)))
    table = await map_table(database.engine, mapping, writing=True)
    await migrate(database.url, mapping)
    store = PostgresStore(database.engine, table)
    rules = policy(statuses=statuses)
    report = await reconcile(store, scripted(closed()), rules, history=database.history())

    assert (report.error, report.changed) == (None, 1)
    (row,) = await database.fetch(f"SELECT status FROM {quoted}")
    assert row["status"] == f"{odd} done"


@pytest.mark.parametrize("odd", ["%(rows)s", "%(until)s \\ it's", "%("])
async def test_a_status_that_is_a_parameter(database: Database, odd: str) -> None:
    statuses = StatusValues((odd, "running"), f"{odd} done")
    await database.insert("wf", "r", status=odd)
    store = PostgresStore(
        database.engine,
        await map_table(database.engine, TableMapping(statuses=statuses), writing=True),
    )

    rules = policy(statuses=statuses)
    report = await reconcile(store, scripted(closed()), rules, history=database.history())

    assert (report.error, report.changed) == (None, 1)


@pytest.mark.parametrize(
    "mapping",
    [
        TableMapping(TableNames(table="%(rows)s")),
        TableMapping(TableNames(run_id="a %(until)s b")),
        TableMapping(TableNames(error_message="%(")),
        TableMapping(where=read_where("%(rows)s=a")),
    ],
)
async def test_a_name_that_is_a_parameter_is_refused_in_one_line(
    database: Database, mapping: TableMapping
) -> None:
    with pytest.raises(DatabaseUnfit, match=r"would be taken for a parameter"):
        await map_table(database.engine, mapping, writing=True)
    with pytest.raises(DatabaseUnfit, match=r"would be taken for a parameter"):
        await migrate(database.url, mapping)
