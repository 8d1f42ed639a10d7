"""A connection is closed if a cancellation interrupts its set-up."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from reconciler.postgres.connection.engine import using_engine
from tests.conftest import Database
from tests.support.polling import eventually


@pytest.mark.parametrize("step", ["setup_asyncpg_jsonb_codec", "initialize", "do_rollback"])
async def test_an_interrupted_set_up_leaves_no_connection_open(
    database: Database, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupted(*_: object) -> None:
        raise asyncio.CancelledError

    async def is_closed() -> bool:
        return not await database.fetch(
            "SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'reconciler'"
        )

    monkeypatch.setattr(PGDialect_asyncpg, step, interrupted)
    async with using_engine(database.url) as engine:
        with pytest.raises(asyncio.CancelledError):
            await engine.connect()
        await eventually(is_closed)
