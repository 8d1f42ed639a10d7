"""What a batch costs does not depend on how many other rows are running."""

from __future__ import annotations

from tests.conftest import Database
from tests.integration.postgres.test_write import begin_pass, failed, store_of
from tests.polling import eventually

OTHERS, BATCH = 5_000, 50


async def test_a_batch_reads_its_own_rows_whatever_the_statistics_say(database: Database) -> None:
    """As after an outage: when the table was analysed last, nothing was running."""
    await database.execute(
        "ALTER TABLE workflow_executions SET (autovacuum_enabled = false);"
        "INSERT INTO workflow_executions (workflow_id, status)"
        " SELECT 'before', 'completed' FROM generate_series(1, 2000);"
        "ANALYZE workflow_executions"
    )
    await database.insert_many(OTHERS, "wf", "run-1")
    store, pass_id = await store_of(database), await begin_pass(database)
    last = await store.last_running()
    assert last is not None
    rows = await store.scan_running(None, last, BATCH)
    before = await rows_read(database)

    written = await store.finish_if_running(pass_id, [failed(row) for row in rows])

    async def is_counted() -> bool:
        (counted,) = await database.fetch(
            "SELECT n_tup_upd AS n FROM pg_stat_user_tables WHERE relname = 'workflow_executions'"
        )
        return counted["n"] == BATCH

    await eventually(is_counted)
    assert len(written.ids) == BATCH
    assert await rows_read(database) - before < 10 * BATCH


async def rows_read(database: Database) -> int:
    (counted,) = await database.fetch(
        "SELECT seq_tup_read + idx_tup_fetch AS n FROM pg_stat_user_tables"
        " WHERE relname = 'workflow_executions'"
    )
    return int(str(counted["n"]))
