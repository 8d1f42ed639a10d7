"""A read replica: what writes refuses it, and is worth another try; what only reads may use it."""

from __future__ import annotations

import pytest

from reconciler.core.errors import DatabaseUnfit
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.checks.table import ReadOnly
from reconciler.postgres.table.mapping import map_table
from reconciler.postgres.table.names import TableMapping
from tests.support.servers.standby import primary_and_replica


async def test_a_replica_is_for_reading_until_it_is_promoted() -> None:
    async with primary_and_replica() as pair:
        await migrate(pair.primary.url, TableMapping())
        await pair.in_step()
        async with using_engine(pair.replica.url) as engine:
            table = await map_table(engine, TableMapping(), writing=False)
            assert await PostgresStore(engine, table).last_running() is None

            with pytest.raises(ReadOnly, match="this server is a read replica: point") as refused:
                await map_table(engine, TableMapping(), writing=True)
            assert not isinstance(refused.value, DatabaseUnfit), "it is worth another try"

            await pair.promote()
            await map_table(engine, TableMapping(), writing=True)
