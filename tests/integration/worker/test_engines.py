"""The application's engine, however it is configured."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from reconciler.worker.database.sources import Sources
from reconciler.worker.report import EndReport
from tests.conftest import Database

NOW = datetime.now(UTC)


@pytest.mark.parametrize("listens", [False, True])
async def test_one_that_commits_each_statement_by_itself(database: Database, listens: bool) -> None:
    """The table is checked with savepoints, which need a transaction."""
    await database.insert("w", "r")
    url = make_url(database.url).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    if listens:
        sa.event.listen(engine.sync_engine, "engine_connect", _search_public)
    try:
        opened = Sources(engine).of().open()
        report = EndReport("w", "COMPLETED", "r", NOW, value="partly")

        assert await opened.finish(report, None, NOW) is True
    finally:
        await engine.dispose()


def _search_public(connection: sa.Connection) -> None:
    connection.exec_driver_sql("SET search_path TO public")
