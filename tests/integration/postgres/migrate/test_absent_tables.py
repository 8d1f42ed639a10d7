"""`migrate` creates a table only if no other can be meant, and only if the role may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from io import StringIO
from uuid import uuid4

import pytest

from reconciler.core.errors import DatabaseUnfit
from reconciler.postgres.migrate.upgrade import migrate, migration_sql
from reconciler.postgres.table.names import TableMapping, TableNames
from tests.conftest import Database, with_user

COLUMNS = "id int PRIMARY KEY, workflow_id text, run_id text, status text, created_at timestamptz"
#: Tables of a Temporal server that shares the database.
TEMPORALS_OWN = (
    "CREATE TABLE executions (shard_id int, namespace_id bytea, workflow_id text, run_id bytea);"
    "CREATE TABLE executions_visibility (namespace_id text, run_id text, workflow_id text,"
    " workflow_type_name text, status int)"
)
ABSENT = {
    "the default": (
        f"CREATE SCHEMA billing; CREATE TABLE billing.jobs ({COLUMNS}); CREATE TABLE a ({COLUMNS})",
        "workflow_executions",
        (
            "there is no table workflow_executions in this database, but billing.jobs, a have a "
            "column like workflow_id: set RECONCILER_TABLE to the one with your workflows, or "
            "RECONCILER_CONFIG to its reconciler.toml (`reconciler init` writes one), or create "
            "workflow_executions with `reconciler migrate --create-table`"
        ),
    ),
    "in another case": (
        'CREATE TABLE "Jobs" (id int)',
        "jobs",
        (
            "there is no table jobs in this database, but Jobs: set RECONCILER_TABLE=Jobs, or "
            "create jobs with `reconciler migrate --create-table`"
        ),
    ),
    "in another schema": (
        "CREATE SCHEMA billing; CREATE TABLE billing.jobs (id int)",
        "jobs",
        (
            "there is no table jobs in this database, but billing.jobs: set "
            "RECONCILER_TABLE=billing.jobs, or create jobs with `reconciler migrate --create-table`"
        ),
    ),
}
NO_SCHEMA = (
    "there is no schema Billing in this database, and no table Billing.work: set RECONCILER_TABLE, "
    'or CREATE SCHEMA "Billing"'
)


def named(table: str, schema: str | None = None) -> TableMapping:
    return TableMapping(TableNames(table=table, schema=schema))


async def refusal(
    database: Database, mapping: TableMapping, url: str = "", *, create_table: bool = False
) -> str:
    """The error, which comes before anything is changed."""
    with pytest.raises(DatabaseUnfit) as refused:
        await migrate(url or database.url, mapping, create_table=create_table)
    assert not await database.fetch("SELECT FROM pg_namespace WHERE nspname = 'reconciler'")
    return str(refused.value)


@pytest.mark.parametrize(("made", "table", "message"), ABSENT.values(), ids=ABSENT.keys())
async def test_another_table_may_be_meant(
    empty_database: Database, made: str, table: str, message: str
) -> None:
    await empty_database.execute(made)
    mapping = named(table)

    assert await refusal(empty_database, mapping) == message
    with pytest.raises(DatabaseUnfit) as refused:
        await migration_sql(empty_database.url, mapping, StringIO())
    assert str(refused.value) == message
    with pytest.raises(DatabaseUnfit) as refused:
        await empty_database.table(mapping.names)
    assert str(refused.value) == message

    done = await migrate(empty_database.url, mapping, create_table=True)
    assert f"table {table}: created" in done


async def test_a_schema_that_does_not_exist_is_never_created(empty_database: Database) -> None:
    mapping = named("work", "Billing")

    assert await refusal(empty_database, mapping) == NO_SCHEMA
    assert await refusal(empty_database, mapping, create_table=True) == NO_SCHEMA


async def test_what_is_no_table_of_the_application(empty_database: Database) -> None:
    await empty_database.execute(TEMPORALS_OWN)
    await empty_database.execute("CREATE TABLE visits (flow int); CREATE VIEW v AS SELECT 1")

    assert "table workflow_executions: created" in await migrate(empty_database.url, TableMapping())


@pytest.fixture
async def role(empty_database: Database) -> AsyncIterator[str]:
    name = f"app_{uuid4().hex[:8]}"
    await empty_database.execute(f"CREATE ROLE {name} LOGIN")
    yield name
    await empty_database.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


async def granted(database: Database, mapping: TableMapping, role: str) -> list[str]:
    """Do what each refusal advises, until the migration is done; returns the refusals."""
    refusals = []
    url = with_user(database.url, role)
    for _ in range(3):
        try:
            await migrate(url, mapping)
        except DatabaseUnfit as error:
            refusals += [part for part in str(error).split("; ") if part.startswith("role ")]
            for part in str(error).split("; "):
                await database.execute("GRANT " + part.partition("GRANT ")[2].partition(", or ")[0])
        else:
            return refusals
    raise AssertionError(refusals)


async def test_a_role_that_may_not_create(empty_database: Database, role: str) -> None:
    (name,) = await empty_database.fetch("SELECT current_database()::text AS name")

    refusals = await granted(empty_database, TableMapping(), role)

    database = name["name"]
    sql = "or have a DBA run what `reconciler migrate --sql` prints"
    assert refusals == [
        (
            f"role {role} may not create schema reconciler: GRANT CREATE ON DATABASE {database} "
            f"TO {role}, {sql}"
        ),
        (
            f"role {role} may not create tables in schema public: GRANT CREATE ON SCHEMA public TO "
            f"{role}, {sql}"
        ),
    ]


async def test_a_role_that_does_not_own_the_table(empty_database: Database, role: str) -> None:
    owner = f"{role}_owner"
    await empty_database.execute(
        f"CREATE TABLE jobs ({COLUMNS}); CREATE ROLE {owner}; ALTER TABLE jobs OWNER TO {owner};"
        f"GRANT CREATE ON SCHEMA public TO {owner}"
    )
    try:
        refusals = await granted(empty_database, named("jobs"), role)
    finally:
        await empty_database.execute(f"DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}")

    assert len(refusals) == 3
    assert refusals[1].startswith(
        f"role {role} may not create an index in schema public: GRANT CREATE ON SCHEMA public"
    )
    assert refusals[2].startswith(
        f"role {role} may not change table jobs, which belongs to {owner}: run `reconciler "
        f"migrate` as {owner}, or GRANT {owner} TO {role}, or have a DBA"
    )
