"""The partial index over the running rows: it is recognised, and completed if interrupted."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.policy import StatusValues
from reconciler.models import WorkflowExecutionMixin
from reconciler.postgres.diagnose.read_plan import plan_page
from reconciler.postgres.migrate.application_table import find_missing
from reconciler.postgres.migrate.partial_index import PartialIndex
from reconciler.postgres.migrate.removal import find_removal, remove
from reconciler.postgres.migrate.upgrade import migrate, migration_sql
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.names import BY_KEY, TableMapping, TableNames, index_name, is_running
from reconciler.postgres.table.relation import find_relation
from reconciler.settings.where import read_where
from tests.conftest import Database
from tests.support.tables.scripts import run_script

JOBS = TableMapping(TableNames(table="jobs"))
BUILT = ["table jobs: built index reconciler_jobs_running"]
COLUMNS = (
    "id int PRIMARY KEY, workflow_id text, run_id text, status text, created_at timestamptz,"
    " completed_at timestamptz, error_message text"
)
INDEXES = r"""
    SELECT c.relname AS name, i.indisvalid AS valid, pg_get_indexdef(i.indexrelid) AS definition
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
    WHERE i.indpred IS NOT NULL AND t.relname ILIKE '%jobs%'
        AND pg_get_expr(i.indpred, i.indrelid) !~ 'CASE' ORDER BY 1
"""


def of(running: tuple[str | None, ...], status: str = "status") -> TableMapping:
    return TableMapping(TableNames(table="jobs", status=status), StatusValues(running))


def variant(mapping: TableMapping) -> str:
    return PartialIndex(mapping, BY_KEY, (mapping.names.id,), is_running).variant


async def make(database: Database, columns: str = COLUMNS, options: str = "") -> None:
    await database.execute(f"CREATE TABLE jobs ({columns}) {options}")


async def missing(database: Database, mapping: TableMapping) -> tuple[str, ...]:
    """The statements that `migrate` would run for the index."""
    async with database.engine.connect() as connection:
        return (await connection.run_sync(find_missing, mapping)).indexes[0].statements


async def migrated(url: str, mapping: TableMapping, **options: Any) -> list[str]:
    """What `migrate` has done, apart from the index on workflow ids."""
    done = await migrate(url, mapping, **options)
    return [line for line in done if "_workflow_id" not in line]


async def serves(database: Database, mapping: TableMapping) -> bool:
    """Whether PostgreSQL can read a page of running rows by it."""
    async with database.engine.connect() as connection:
        relation, table = await find_relation(connection, mapping)
    plan = await plan_page(database.engine, MappedTable(table, mapping, relation), 10)
    return plan.servable


async def by_hand(database: Database, *statements: str) -> None:
    for statement in statements:
        await database.execute(statement)


class TestIsKnownAgain:
    """However PostgreSQL prints its predicate: it is not rebuilt in each migration."""

    @pytest.mark.parametrize(
        ("kind", "running", "others"),
        [
            ("int", ("0",), ("1",)),
            ("int", ("0", "-1"), ("0",)),
            ("bigint", ("10", "1"), ("10",)),
            ("smallint", ("0", "1"), ("1",)),
            ("numeric(5,2)", ("1.00",), ("1.50",)),
            ("boolean", ("true",), ("false",)),
            ("boolean", ("false", None), ("false",)),
            ("text", (None,), ("null",)),
            ("text", ("queued", None, "(x IS NULL)"), ("queued", "(x IS NULL)")),
            ("state", ("it's on", "0"), ("it's on",)),
            ("varchar(20)", ("20", "a, b"), ("20", "a", "b")),
            ("small", ("1", "2"), ("1",)),
            ("text", ("x:y", "100%", "back\\slash", '"q"', "é"), ("x:y",)),
        ],
    )
    async def test_with_values_of_any_type(
        self,
        database: Database,
        kind: str,
        running: tuple[str | None, ...],
        others: tuple[str, ...],
    ) -> None:
        await database.execute(
            "CREATE TYPE state AS ENUM ('it''s on', '0', 'off'); CREATE DOMAIN small AS int"
        )
        await make(database, COLUMNS.replace("status text", f'"status, 1" {kind}'))
        mapping, other = of(running, "status, 1"), of(others, "status, 1")

        await by_hand(database, *await missing(database, mapping))

        assert await missing(database, mapping) == ()
        assert await serves(database, mapping)
        again = replace(mapping, statuses=StatusValues(tuple(reversed(running))))
        assert await missing(database, again) == (), "the order makes no difference"
        assert await serves(database, again)
        build, mark = await missing(database, other)
        assert (build[:6], mark[:7]) == ("CREATE", "COMMENT")
        assert "reconciler_jobs_running" not in build, "the other one stays"

    @pytest.mark.parametrize("column", ["id", "status"])
    async def test_on_another_column_another_is_built(
        self, database: Database, column: str
    ) -> None:
        await make(database, f"{COLUMNS}, old_id int, old_status text")
        old: Any = {column: f"old_{column}"}
        await by_hand(database, *await missing(database, JOBS_WITH(**old)))

        await by_hand(database, *await missing(database, JOBS))

        assert await missing(database, JOBS) == ()
        assert await missing(database, JOBS_WITH(**old)) == ()
        assert len(await database.fetch(INDEXES)) == 2

    async def test_a_filter_makes_no_difference(self, database: Database) -> None:
        """It is for all who share the table."""
        await make(database, f"{COLUMNS}, tenant int")
        await by_hand(database, *await missing(database, JOBS))

        filtered = replace(JOBS, where=read_where("tenant=7"))
        assert await missing(database, filtered) == ()
        assert await serves(database, filtered)


def JOBS_WITH(**names: str) -> TableMapping:  # noqa: N802
    return TableMapping(replace(JOBS.names, **names))


PARTITIONED = """
    CREATE SCHEMA parts;
    CREATE TABLE parts.jobs_0 PARTITION OF jobs FOR VALUES FROM (0) TO (100)
        PARTITION BY RANGE (id);
    CREATE TABLE jobs_0a PARTITION OF parts.jobs_0 FOR VALUES FROM (0) TO (50);
    CREATE TABLE "Jobs 0b" PARTITION OF parts.jobs_0 FOR VALUES FROM (50) TO (100);
    CREATE TABLE jobs_1 PARTITION OF jobs FOR VALUES FROM (100) TO (200);
"""


@pytest.fixture
async def partitioned(database: Database) -> Database:
    """With a table in partitions, some of them in a schema of their own and in partitions again."""
    await make(database, options="PARTITION BY RANGE (id)")
    await database.execute(PARTITIONED)
    return database


class TestOnPartitions:
    async def test_cut_off_anywhere_it_is_gone_on_with(self, partitioned: Database) -> None:
        statements = await missing(partitioned, JOBS)
        assert len(statements) == 10  # five indexes, four of which are attached, and the mark
        for done in range(1, len(statements) + 1):
            await by_hand(partitioned, *statements[:done])

            rest = await missing(partitioned, JOBS)

            # Without its mark it serves all the same, and may be the application's.
            assert sorted(rest) == (sorted(statements[done:]) if done < len(statements) - 1 else [])
            await by_hand(partitioned, *rest)
            indexes = await partitioned.fetch(INDEXES)
            assert [index["valid"] for index in indexes] == [True] * 5
            assert await missing(partitioned, JOBS) == ()
            await partitioned.execute("DROP INDEX reconciler_jobs_running")
            assert await partitioned.fetch(INDEXES) == []

    async def test_a_partition_that_comes_while_it_is_cut_off_has_its_own(
        self, partitioned: Database
    ) -> None:
        """PostgreSQL makes and attaches it, under a name of its own."""
        statements = await missing(partitioned, JOBS)
        await by_hand(partitioned, *statements[:4])
        await partitioned.execute(
            "CREATE TABLE jobs_2 PARTITION OF jobs FOR VALUES FROM (200) TO (300);"
            "CREATE TABLE jobs_3 PARTITION OF jobs FOR VALUES FROM (300) TO (400)"
            " PARTITION BY RANGE (id);"
            "CREATE TABLE jobs_3a PARTITION OF jobs_3 FOR VALUES FROM (300) TO (400)"
        )

        assert await migrated(partitioned.url, JOBS) == BUILT

        indexes = await partitioned.fetch(INDEXES)
        assert [index["valid"] for index in indexes] == [True] * 8
        assert await migrated(partitioned.url, JOBS) == []

    async def test_cut_off_it_is_left_to_the_loop_that_it_is_for(
        self, partitioned: Database
    ) -> None:
        statements = await missing(partitioned, JOBS)
        await by_hand(partitioned, *statements[:7])
        rest, pending = await missing(partitioned, JOBS), of(("pending",))

        built, kept = await migrated(partitioned.url, pending)

        assert kept.startswith("table jobs: kept index reconciler_jobs_running, for other")
        assert await missing(partitioned, JOBS) == rest
        indexes = await partitioned.fetch(INDEXES)
        of_pending = [index for index in indexes if "'pending'" in str(index["definition"])]
        assert [index["valid"] for index in of_pending] == [True] * 5
        assert any(str(index["name"]) in built for index in of_pending)
        assert (await migrated(partitioned.url, JOBS))[0] == BUILT[0]
        assert await migrated(partitioned.url, pending) == []
        assert len(await partitioned.fetch(INDEXES)) == 10

    async def test_printed_is_what_would_be_done(
        self, partitioned: Database, empty_database: Database
    ) -> None:
        await make(empty_database, options="PARTITION BY RANGE (id)")
        await empty_database.execute(PARTITIONED)
        output = io.StringIO()

        await migration_sql(empty_database.url, JOBS, output)
        await run_script(empty_database, output.getvalue())
        await migrated(partitioned.url, JOBS)

        assert await empty_database.fetch(INDEXES) == await partitioned.fetch(INDEXES)
        assert await migrated(empty_database.url, JOBS) == []

    async def test_a_table_with_a_foreign_partition_has_no_key(self, partitioned: Database) -> None:
        await partitioned.execute(
            "ALTER TABLE jobs DROP CONSTRAINT jobs_pkey;"
            "CREATE FOREIGN DATA WRAPPER far; CREATE SERVER away FOREIGN DATA WRAPPER far;"
            "CREATE FOREIGN TABLE jobs_far PARTITION OF jobs FOR VALUES FROM (900) TO (999)"
            " SERVER away"
        )

        with pytest.raises(DatabaseUnfit, match="does not identify a row"):
            await migrated(partitioned.url, JOBS)

        assert await partitioned.fetch(INDEXES) == []


class TestOfTwoLoops:
    """With other running values, over one table."""

    MORE = of(("queued", "running"))

    async def test_each_has_its_own_and_neither_takes_the_others(self, database: Database) -> None:
        await make(database)
        await migrated(database.url, JOBS)
        before = await database.fetch(INDEXES)

        built, kept = await migrated(database.url, self.MORE)

        name = index_name("jobs", variant(self.MORE))
        assert built == f"table jobs: built index {name}"
        assert kept.startswith("table jobs: kept index reconciler_jobs_running, ")
        both = await database.fetch(INDEXES)
        assert len(both) == 2
        assert before[0] in both
        for each in (JOBS, self.MORE):
            assert await migrated(database.url, each) == []
            assert await serves(database, each)

    @pytest.mark.parametrize("first", [JOBS, MORE], ids=["plain", "with digits"])
    async def test_each_removes_its_own(self, database: Database, first: TableMapping) -> None:
        await make(database)
        (second,) = (each for each in (JOBS, self.MORE) if each is not first)
        for each in (JOBS, self.MORE):
            await migrated(database.url, each)
        both = {str(index["name"]) for index in await database.fetch(INDEXES)}

        removal = await find_removal(database.url, first, with_columns=False)
        assert any("an index of jobs for other columns or running" in x for x in removal.lines())
        await remove(database.url, first, with_columns=False)

        (left,) = await database.fetch(INDEXES)
        assert left["name"] in both
        assert await missing(database, second) == (), "it is still known"
        await remove(database.url, second, with_columns=False)
        assert await database.fetch(INDEXES) == []

    async def test_one_with_the_plain_name_that_does_not_fit_is_not_touched(
        self, database: Database
    ) -> None:
        await make(database)
        await database.execute("CREATE INDEX reconciler_jobs_running ON jobs (created_at)")

        built, _ = await migrated(database.url, JOBS)

        assert built == f"table jobs: built index {index_name('jobs', variant(JOBS))}"
        assert await missing(database, JOBS) == ()
        assert await database.fetch(
            "SELECT FROM pg_class WHERE relname = 'reconciler_jobs_running'"
        )


class TestLongNames:
    """PostgreSQL would cut them at 63 bytes, and take two for one."""

    SAME = "jobs__" + "é" * 25  # 56 bytes; each é counts for two, and one of them is cut in half

    async def test_of_partitions_that_begin_alike(self, database: Database) -> None:
        names = [f"{self.SAME}{number}" for number in (1, 2)]
        await make(database, options="PARTITION BY RANGE (id)")
        for at, name in enumerate(names):
            values = f"FROM ({at}) TO ({at + 1})"
            await database.execute(f'CREATE TABLE "{name}" PARTITION OF jobs FOR VALUES {values}')

        assert await migrated(database.url, JOBS) == BUILT

        indexes = [str(index["name"]) for index in await database.fetch(INDEXES)]
        assert len(set(indexes)) == 3
        assert all(name.startswith("reconciler_jobs_") for name in indexes)
        assert all(name.endswith("_running") for name in indexes)
        assert await migrated(database.url, JOBS) == []

    async def test_of_the_table_itself(self, database: Database) -> None:
        mapping = TableMapping(TableNames(table=self.SAME))

        done = await migrated(database.url, mapping, create_table=True)
        assert done[0] == f"table {self.SAME}: created"
        assert await migrated(database.url, mapping) == []
        (index,) = await database.fetch(INDEXES)
        assert index["name"] == mapping.names.index

    async def test_of_a_model_it_is_the_one_that_migrate_would_make(
        self, database: Database
    ) -> None:
        class Base(DeclarativeBase):
            pass

        class Model(WorkflowExecutionMixin, Base):
            __tablename__ = self.SAME

        def make_it(connection: sa.Connection) -> None:
            Base.metadata.create_all(connection)

        async with database.engine.begin() as connection:
            await connection.run_sync(make_it)

        assert await migrated(database.url, TableMapping(TableNames(table=self.SAME))) == []

    async def test_others_are_as_they_ever_were(self) -> None:
        assert TableNames(table="j" * 44).index == f"reconciler_{'j' * 44}_running"
        cut = TableNames(table="j" * 45).index
        assert (cut[:12], cut[-8:], len(cut)) == ("reconciler_j", "_running", 63)


async def test_a_value_with_a_percent_sign_is_printed_as_it_is(
    database: Database, empty_database: Database
) -> None:
    """Also where our own schema is printed too, which is another way through Alembic."""
    for each in (database, empty_database):
        await make(each)
        output = io.StringIO()

        await migration_sql(each.url, of(("100%", ":b")), output)
        await migrated(each.url, of(("100%", ":b")))

        assert "WHERE status IN ('100%', ':b');" in output.getvalue()
