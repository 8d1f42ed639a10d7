"""A URL in a file is read again for each new connection: passwords are rotated while it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnfit, DatabaseUnusable
from reconciler.postgres.connection.engine import forget_connections, translated, using_engine
from reconciler.postgres.rows.store import PostgresStore
from reconciler.settings.load import load_settings
from reconciler.settings.model import DatabaseSettings
from tests.conftest import Database, with_user
from tests.support.factories import outcome


@pytest.fixture
def mounted(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "url"
    file.write_text(f"{database.url}\n")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("DATABASE_URL_FILE", str(file))
    return file


@pytest.fixture
async def engine(mounted: Path) -> AsyncIterator[AsyncEngine]:
    """Over the settings as they were at the start."""
    async with using_engine(load_settings(DatabaseSettings).dsn()) as engine:
        yield engine


@pytest.fixture
async def successor(database: Database) -> AsyncIterator[str]:
    """The role that is to be used from now on."""
    role = f"successor_{uuid4().hex[:8]}"
    await database.execute(f"CREATE ROLE {role} LOGIN")
    yield role
    await database.execute(f"DROP ROLE {role}")


async def user(engine: AsyncEngine) -> object:
    with translated("read"):
        async with engine.connect() as connection:
            return await connection.scalar(sa.text("SELECT current_user"))


async def test_new_connections_are_made_with_what_the_file_says_by_then(
    database: Database, engine: AsyncEngine, mounted: Path, successor: str
) -> None:
    before = await user(engine)
    mounted.write_text(with_user(database.url, successor))

    assert await user(engine) == before, "what is open stays open"
    await forget_connections(engine)  # as after each pass that has failed
    assert await user(engine) == successor


async def test_a_file_that_is_away_is_waited_for(engine: AsyncEngine, mounted: Path) -> None:
    mounted.unlink()

    with pytest.raises(DatabaseUnusable, match="DATABASE_URL_FILE: cannot read") as refused:
        await user(engine)

    assert not isinstance(refused.value, DatabaseUnfit)


async def test_what_is_no_url_is_never_shown(engine: AsyncEngine, mounted: Path) -> None:
    mounted.write_text("postgresql://app:s3c/ret@db/app")

    with pytest.raises(DatabaseUnusable) as refused:
        await user(engine)

    assert "s3c" not in str(refused.value)
    assert "DATABASE_URL" in str(refused.value)


async def test_what_is_no_url_is_not_taken_for_the_fault_of_a_row(
    database: Database, engine: AsyncEngine, mounted: Path
) -> None:
    store = PostgresStore(engine, await database.table())
    await database.insert("wf", "run-1")
    (row,) = await store.scan_running(None, 1, 10)
    mounted.write_text("postgresql://app:s3c/ret@db/app")
    await forget_connections(engine)

    with pytest.raises(DatabaseUnfit, match="DATABASE_URL cannot be parsed"):
        await store.finish_if_running(str(uuid4()), [outcome(row)])
