"""What a batch costs does not depend on how many other rows are running."""

from __future__ import annotations

import pytest

from reconciler.postgres.migrate import migrate
from reconciler.postgres.store import PostgresStore
from reconciler.postgres.tables import TableMapping, TableNames
from tests.conftest import Database
from tests.integration.postgres.test_write import begin_pass, failed
from tests.polling import eventually

OTHERS, BATCH = 20_000, 50
#: Rows and blocks: each row of the batch with each other one, and then some.
BOUND = BATCH * (BATCH + 30)
JOBS = TableNames(table="jobs")
_PARTITIONS = (
    " PARTITION BY RANGE (created_at);"
    "CREATE TABLE jobs_old PARTITION OF jobs FOR VALUES FROM (MINVALUE) TO ('2026-01-01');"
    "CREATE TABLE jobs_new PARTITION OF jobs FOR VALUES FROM ('2026-01-01') TO (MAXVALUE)"
)


@pytest.mark.parametrize(
    ("key", "partitions"),
    [("id", ""), ("id, created_at", _PARTITIONS), ("created_at, id", _PARTITIONS)],
)
@pytest.mark.parametrize("were_seen", [True, False], ids=["analysed", "analysed too early"])
async def test_a_batch_reads_its_own_rows_whatever_the_statistics_say(
    database: Database, *, key: str, partitions: str, were_seen: bool
) -> None:
    """Too early as after an outage: when the table was analysed last, nothing was running."""
    await database.execute(
        "CREATE TABLE jobs (id bigint GENERATED ALWAYS AS IDENTITY, workflow_id text, run_id text,"
        " status text DEFAULT 'running', created_at timestamptz NOT NULL,"
        f" completed_at timestamptz, error_message text, PRIMARY KEY ({key})){partitions}"
    )
    await migrate(database.url, TableMapping(JOBS))
    await database.execute(
        "INSERT INTO jobs (workflow_id, status, created_at)"
        " SELECT 'before', 'completed', '2026-01-01'::timestamptz + n * interval '1 second'"
        " FROM generate_series(1, 2000) n;"
        "ANALYZE jobs;"
        "INSERT INTO jobs (workflow_id, run_id, created_at)"
        " SELECT 'wf-' || n, 'run-1', '2026-01-02'::timestamptz + n * interval '1 second'"
        f" FROM generate_series(1, {OTHERS}) n"
    )
    if were_seen:
        await database.execute("ANALYZE jobs")
    store = PostgresStore(database.engine, await database.table(JOBS))
    pass_id = await begin_pass(database)
    last = await store.last_running()
    assert last is not None
    rows = await store.scan_running(None, last, BATCH)
    before, _ = await read_and_updated(database)

    written = await store.finish_if_running(pass_id, [failed(row) for row in rows])

    async def is_counted() -> bool:
        return (await read_and_updated(database))[1] == BATCH

    await eventually(is_counted)
    read, _ = await read_and_updated(database)
    assert len(written.ids) == BATCH
    assert read - before < BOUND


async def read_and_updated(database: Database) -> tuple[int, int]:
    """Rows and blocks read, and rows updated; a connection reports them when it ends."""
    await database.engine.dispose()
    (counted,) = await database.fetch(
        "SELECT sum(seq_tup_read + idx_tup_fetch + heap_blks_read + heap_blks_hit"
        " + idx_blks_read + idx_blks_hit)::bigint AS read, sum(n_tup_upd)::bigint AS updated"
        " FROM pg_stat_user_tables JOIN pg_statio_user_tables USING (relid, relname)"
        " WHERE relname LIKE 'jobs%'"
    )
    return int(str(counted["read"])), int(str(counted["updated"]))
