"""What a batch costs does not depend on how many other rows are running."""

from __future__ import annotations

from uuid import uuid4

import pytest

from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.rows.arrays import as_arrays
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.rows.write import guarded_write
from reconciler.postgres.table.names import TableMapping, TableNames
from tests.conftest import Database
from tests.integration.postgres.rows.test_write import begin_pass, failed
from tests.support.crossed import crossed
from tests.support.factories import outcome, row
from tests.support.polling import eventually

BEFORE, OTHERS, BATCH = 2_000, 20_000, 50
#: Rows and blocks: each row of the batch with each other one, and then some.
BOUND = BATCH * (BATCH + 30)
JOBS = TableNames(table="jobs")
_ALONE = " WITH (autovacuum_enabled = false)"
_PARTITIONS = (
    " PARTITION BY RANGE (created_at);"
    f"CREATE TABLE jobs_old PARTITION OF jobs FOR VALUES FROM (MINVALUE) TO ('2026-01-01'){_ALONE};"
    f"CREATE TABLE jobs_new PARTITION OF jobs FOR VALUES FROM ('2026-01-01') TO (MAXVALUE){_ALONE}"
)
#: Its rows are read once more in the end.
TRIGGER = """
    CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
    CREATE TRIGGER act BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION act()
"""
_COUNTED = """
    SELECT sum(n_tup_ins)::bigint AS inserted, sum(n_tup_upd)::bigint AS updated,
        sum(seq_tup_read + idx_tup_fetch + heap_blks_read + heap_blks_hit
            + idx_blks_read + idx_blks_hit)::bigint AS read
    FROM pg_stat_user_tables JOIN pg_statio_user_tables USING (relid, relname)
    WHERE relname LIKE 'jobs%'
"""


KEYS = [
    pytest.param("id", _ALONE, id="plain"),
    pytest.param("id, created_at", _PARTITIONS, id="partitioned"),
    pytest.param("created_at, id", _PARTITIONS, id="partitioned, key last"),
]


@pytest.mark.parametrize(
    ("key", "partitions", "analysed", "trigger"),
    crossed(
        crossed(KEYS, ["too early", "in time"]),
        [pytest.param(False, id="no trigger"), pytest.param(True, id="a trigger")],
    ),
)
async def test_a_batch_reads_its_own_rows_whatever_the_statistics_say(
    database: Database, *, key: str, partitions: str, analysed: str, trigger: bool
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
        f" FROM generate_series(1, {BEFORE}) n;"
        "ANALYZE jobs;"
        "INSERT INTO jobs (workflow_id, run_id, created_at)"
        " SELECT 'wf-' || n, 'run-1', '2026-01-02'::timestamptz + n * interval '1 second'"
        f" FROM generate_series(1, {OTHERS}) n;"
        f"{'ANALYZE jobs' if analysed == 'in time' else ''}"
    )
    if trigger:
        await database.execute(TRIGGER)
    store = PostgresStore(database.engine, await database.table(JOBS))
    pass_id = await begin_pass(database)
    last = await store.last_running()
    assert last is not None
    rows = await store.scan_running(None, last, BATCH)
    before = await counted(database, inserted=BEFORE + OTHERS)

    written = await store.finish_if_running(pass_id, [failed(row) for row in rows])

    assert len(written.ids) == BATCH
    assert await counted(database, updated=BATCH) - before < BOUND


async def test_an_index_on_the_workflow_id_serves_the_write_of_a_partitioned_table(
    database: Database,
) -> None:
    """The other index for it is reconciler's, of all running rows."""
    await database.execute(
        "CREATE TABLE jobs (id bigint, workflow_id text, run_id text, status text, completed_at"
        " timestamptz, error_message text, created_at timestamptz, PRIMARY KEY (created_at, id))"
        f"{_PARTITIONS}; CREATE INDEX ON jobs (workflow_id)"
    )
    await migrate(database.url, TableMapping(JOBS))
    await database.execute(
        "INSERT INTO jobs SELECT n, 'wf-' || n, 'run-1', 'running', NULL, NULL,"
        f" '2026-01-02'::timestamptz + n * interval '1 second' FROM generate_series(1, {OTHERS}) n;"
        "ANALYZE jobs"
    )
    table = await database.table(JOBS)
    write = guarded_write(table, journalled=False).compile(dialect=database.engine.dialect)
    outcomes = [outcome(row(number)) for number in range(500)]
    given = {**write.params, **as_arrays(str(uuid4()), outcomes, table, "utf-8")}
    values = tuple(given[name] for name in write.positiontup or ())

    async with database.engine.connect() as connection:
        lines = await connection.exec_driver_sql(f"EXPLAIN {write}", values)
        plan = "\n".join(lines.scalars())

    assert "Index Scan using jobs_new_workflow_id_idx" in plan


async def counted(database: Database, **known: int) -> int:
    """Rows and blocks read so far, once these have been counted.

    A connection reports what it has done when it ends.
    """
    await database.engine.dispose()
    await database.pool.expire_connections()
    counts: dict[str, object] = {}

    async def are_counted() -> bool:
        (now,) = await database.fetch(_COUNTED)
        counts.update(now)
        return all(now[name] == count for name, count in known.items())

    await eventually(are_counted)
    return int(str(counts["read"]))
