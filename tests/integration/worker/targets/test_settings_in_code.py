"""Settings that are made in code, where reviewers can see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from reconciler.postgres.connection.engine import CONNECTIONS_OF_TARGET
from reconciler.settings import Columns, Settings, Statuses, TableSettings
from reconciler.worker import ReconcilerPlugin
from reconciler.worker.database.opened import Opened
from reconciler.worker.database.sources import Sources
from tests.conftest import Database
from tests.integration.worker.conftest import Site
from tests.integration.worker.targets.conftest import TARGETS, export_of, run

SETTINGS = {
    "orders": TableSettings(),
    "exports": TableSettings(
        table="exports",
        columns=Columns(run_id="temporal_run", completed_at=None),
        statuses=Statuses(running=("open",), completed="shipped", failed="broken"),
    ),
}


async def test_nothing_is_read_from_elsewhere(
    site: Site, exports: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reconciler.toml").write_text("not TOML")
    monkeypatch.setenv("RECONCILER_TABLE", "a.b.c")
    engines = {"orders": site.database.engine, "exports": exports.engine}
    plugin = ReconcilerPlugin(engines, targets=TARGETS, settings=SETTINGS)
    async with site.worker(plugin):
        done = await run(site, exports, "Typed", "complete", "")
        await site.closed(await site.start("complete"))

    assert await site.outcome() == ("completed", None)
    assert await export_of(exports, done) == ("shipped", None)


async def test_for_the_only_table(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_STATUSES__COMPLETED", "other")
    settings = Settings(database_url=SecretStr(site.database.url))
    async with site.worker(ReconcilerPlugin(settings=settings)):
        await site.closed(await site.start("complete"))

    assert await site.outcome() == ("completed", None)


async def test_targets_with_one_url_share_their_connections(site: Site) -> None:
    url = SecretStr(site.database.url)
    settings = {name: Settings(database_url=url) for name in ("one", "two")}
    made = []

    def make() -> Any:
        made.append(site.database.engine)
        return site.database.engine

    for engine in (None, make):
        both = Opened(Sources(engine, settings))
        one, two = both.writer("one"), both.writer("two")
        assert one is not two
        assert one._engine is two._engine
        await both.close()
        if engine is None:
            pool: Any = one._engine.pool
            assert pool.size() + pool._max_overflow == 2 * CONNECTIONS_OF_TARGET, "room for both"
    assert len(made) == 1
