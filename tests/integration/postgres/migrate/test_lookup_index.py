"""The partial index by which the closings feed finds running rows."""

from __future__ import annotations

import re
from typing import Any

import pytest

from reconciler.core.policy import StatusValues
from reconciler.postgres.diagnose.read_plan import IndexState, plan_lookup
from reconciler.postgres.migrate.removal import remove
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.table.names import TableMapping, TableNames
from tests.conftest import Database

COLUMNS = (
    "id bigint PRIMARY KEY, run_id text, status text, created_at timestamptz DEFAULT now(),"
    " completed_at timestamptz, error_message text"
)
TEXT = "workflow_id text"
INDEXES = """
    SELECT pg_get_indexdef(i.indexrelid) AS definition, i.indisvalid AS valid
    FROM pg_index i WHERE i.indrelid::regclass::text LIKE 'jobs%'
        AND pg_get_expr(i.indpred, i.indrelid) ~ 'CASE' ORDER BY 1
"""


def jobs(template: str = "workflow_id", **names: Any) -> TableMapping:
    return TableMapping(TableNames(table="jobs", workflow_id=template, **names))


async def make(database: Database, columns: str, more: str = "") -> None:
    await database.execute(f"CREATE TABLE jobs ({COLUMNS}, {columns}); {more}")


async def built(database: Database, mapping: TableMapping) -> list[str]:
    """The columns of the indexes, each as PostgreSQL writes them."""
    await migrate(database.url, mapping)
    assert await migrate(database.url, mapping) == []
    definitions = [str(row["definition"]) for row in await database.fetch(INDEXES)]
    return [re.sub(r"^.* USING \w+ | WHERE .*$", "", each, flags=re.DOTALL) for each in definitions]


@pytest.mark.parametrize(
    ("columns", "template", "more", "expected"),
    [
        (TEXT, "workflow_id", "", "(workflow_id)"),
        (TEXT, "workflow_id", "CREATE INDEX ON jobs (workflow_id)", "(workflow_id)"),
        (TEXT, "workflow_id", "CREATE UNIQUE INDEX ON jobs (workflow_id, run_id)", "(workflow_id)"),
        (
            TEXT,
            "workflow_id",
            "CREATE UNIQUE INDEX ON jobs (workflow_id) WHERE status = 'x'",
            "(workflow_id)",
        ),
        (TEXT, "workflow_id", "CREATE UNIQUE INDEX ON jobs (lower(workflow_id))", "(workflow_id)"),
        (TEXT, "workflow_id", "CREATE UNIQUE INDEX ON jobs (workflow_id) INCLUDE (id)", None),
        ("w uuid UNIQUE", "w", "", None),
        ('"W x" uuid', "W x", "", '("W x")'),
        ("a int, b text", "{a}/{b}", "", "(a, b)"),
        ("a int, b text", "{a}/{b}/{a}", "", "(a)"),
        ("a int, b text, UNIQUE (b, a)", "{a}/{b}", "", None),
        ("a int, b text, UNIQUE (b)", "{a}/{b}", "", None),
        ("a text, b text, c int", "{a}/{b}/{c}", "", "(c)"),
        ("a text", "{a}-{id}", "", None),
        ("a kind", "a", "", None),
    ],
)
async def test_it_is_built_unless_another_finds_at_most_one_row(
    database: Database, columns: str, template: str, more: str, expected: str | None
) -> None:
    await database.execute("CREATE TYPE kind AS ENUM ('full', 'delta')")
    await make(database, columns, more)

    assert await built(database, jobs(template)) == ([expected] if expected else [])


async def test_the_key_may_be_the_workflow_id_and_unique_only_with_others(
    database: Database,
) -> None:
    columns = COLUMNS.replace("id bigint PRIMARY KEY", "id uuid, made int, PRIMARY KEY (made, id)")
    await database.execute(f"CREATE TABLE jobs ({columns})")

    assert await built(database, jobs("id")) == []
    assert (await plan_lookup(database.engine, await database.table(jobs("id").names))).servable


@pytest.mark.parametrize("broken", [False, True])
async def test_on_partitions_it_is_completed_recognised_and_removed(
    database: Database, broken: bool
) -> None:
    await database.execute(
        f"CREATE TABLE jobs ({COLUMNS}, {TEXT}) PARTITION BY HASH (id);"
        "CREATE TABLE jobs_0 PARTITION OF jobs FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE jobs_1 PARTITION OF jobs FOR VALUES WITH (MODULUS 2, REMAINDER 1)"
    )
    if broken:
        case = "CASE WHEN status = 'running' THEN true ELSE false END"
        index = f"USING hash (workflow_id) WHERE {case}"
        await database.execute(
            f"CREATE INDEX reconciler_jobs_workflow_id ON ONLY jobs {index};"
            f"CREATE INDEX reconciler_jobs_0_workflow_id ON jobs_0 {index};"
            "UPDATE pg_index SET indisvalid = false"
            " WHERE indexrelid = 'reconciler_jobs_0_workflow_id'::regclass"
        )

    assert await built(database, jobs()) == ["(workflow_id)"] * 3
    assert [row["valid"] for row in await database.fetch(INDEXES)] == [True] * 3
    assert (await plan_lookup(database.engine, await database.table(jobs().names))).servable

    await remove(database.url, jobs(), with_columns=False)
    assert await database.fetch(INDEXES) == []


async def test_each_loop_has_its_own_and_removes_no_other(database: Database) -> None:
    await make(database, f"{TEXT}, other_id text")
    queued = TableMapping(TableNames(table="jobs"), StatusValues(running=("queued",)))
    others = (queued, jobs("other_id"))
    await migrate(database.url, jobs())
    (before,) = await database.fetch(INDEXES)

    for each in others:
        (kept,) = [x for x in await migrate(database.url, each) if "kept index" in x and "_id" in x]
        assert kept.startswith("table jobs: kept index reconciler_jobs_workflow_id")
        assert await migrate(database.url, each) == []
        assert before in await database.fetch(INDEXES)
        await remove(database.url, each, with_columns=False)

    assert await database.fetch(INDEXES) == [before]
    assert not any("_workflow_id" in line for line in await migrate(database.url, jobs()))


async def test_it_is_removed_also_if_it_is_no_longer_wanted(database: Database) -> None:
    await make(database, TEXT)
    await migrate(database.url, jobs())
    await database.execute("CREATE UNIQUE INDEX ON jobs (workflow_id)")

    await remove(database.url, jobs(), with_columns=False)

    assert await database.fetch(INDEXES) == []


async def test_another_index_of_that_name_is_not_touched(database: Database) -> None:
    await make(database, TEXT)
    theirs = (
        "CREATE INDEX reconciler_jobs_workflow_id ON jobs (workflow_id) WHERE status = 'running'"
    )
    await database.execute(theirs)

    done = await migrate(database.url, jobs())

    assert len(await database.fetch(INDEXES)) == 1
    assert any(
        "_workflow_id" in line and "reconciler_jobs_workflow_id" not in line for line in done
    )
    plan = await plan_lookup(database.engine, await database.table(jobs().names))
    assert plan.index is IndexState.THERE


async def test_it_takes_texts_of_any_length(database: Database) -> None:
    """An application must not be kept from storing what Temporal would reject."""
    await database.execute(f"CREATE TABLE jobs ({COLUMNS}, {TEXT})")
    await migrate(database.url, jobs())

    await database.execute(
        "INSERT INTO jobs (id, workflow_id) SELECT 1, string_agg(random()::text, '')"
        " FROM generate_series(1, 2000)"
    )

    rows = await database.fetch("SELECT length(workflow_id) > 20000 AS long FROM jobs")
    assert [row["long"] for row in rows] == [True]
