"""A lent database looks as if no test had used it before."""

from __future__ import annotations

import asyncpg
import pytest

from tests.support.servers.lending import Lending, connected

# One of each kind, undone where possible: what counts is that it ran.
DDL = {
    "a column": "ALTER TABLE workflow_executions ADD x int; ALTER TABLE workflow_executions DROP x",
    "a table": "CREATE TABLE t ()",
    "a trigger": "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';"
    " CREATE TRIGGER t BEFORE UPDATE ON workflow_executions EXECUTE FUNCTION f()",
    "a right": "GRANT SELECT ON workflow_executions TO PUBLIC;"
    " REVOKE SELECT ON workflow_executions FROM PUBLIC",
    "a right on the database": "DO $$ BEGIN EXECUTE"
    " format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()); END $$",
    "a setting": "DO $$ BEGIN EXECUTE"
    " format('ALTER DATABASE %I SET work_mem = 64', current_database()); END $$",
    "row security": "ALTER TABLE workflow_executions ENABLE ROW LEVEL SECURITY",
    "no index": "DROP INDEX reconciler.changes_workflow_id",
    "another version": "UPDATE reconciler.alembic_version SET version_num = '0001'",
}
INSERT = "INSERT INTO workflow_executions (workflow_id) VALUES ('wf') RETURNING id"


@pytest.fixture
async def lending(postgres_url: str, template_database: str) -> Lending:
    return Lending(postgres_url, template_database)


async def test_rows_are_gone_and_sequences_start_over(lending: Lending) -> None:
    urls = set()
    async with lending:
        for _ in range(3):
            async with lending.lend() as url, connected(url) as connection:
                assert await connection.fetchval(INSERT) == 1
                assert await connection.fetchval("SELECT count(*) FROM workflow_executions") == 1
            urls.add(url)
    assert len(urls) == 1


async def test_remaining_connections_are_closed(lending: Lending) -> None:
    async with lending:
        async with lending.lend() as url:
            left = await asyncpg.connect(url)
            await left.execute("BEGIN; LOCK TABLE workflow_executions")
        async with lending.lend() as again, connected(again) as connection:
            assert again == url
            assert await connection.fetchval(INSERT) == 1
        assert left.is_closed()


@pytest.mark.parametrize("ddl", DDL)
async def test_after_ddl_a_database_is_not_lent_again(lending: Lending, ddl: str) -> None:
    async with lending:
        async with lending.lend() as url, connected(url) as connection:
            await connection.execute(DDL[ddl])
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await asyncpg.connect(url)
        async with lending.lend() as another, connected(another) as connection:
            assert another != url
            assert await connection.fetchval(INSERT) == 1
