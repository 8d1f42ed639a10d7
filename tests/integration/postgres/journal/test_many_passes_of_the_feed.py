"""The history when nearly all passes are of the feed, which may record one per second."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from reconciler.core.model import Mode
from reconciler.core.report.request import PassRequest
from reconciler.postgres.journal import earlier
from reconciler.postgres.journal.prune import Pruning
from reconciler.postgres.journal.reader import JournalReader
from tests.conftest import Database
from tests.support.polling import eventually
from tests.support.tables.past import DAY, OURS, kept, pass_over, passes_of_the_feed

COUNT = 5000
OTHERS = set(Mode) - {Mode.FEED}


async def heartbeat(database: Database) -> None:
    beat = await database.history().heartbeat()
    assert beat is not None
    assert {beat.pass_id} == await of_other_modes(database)


async def found_in(database: Database) -> None:
    assert await database.history().found_in({"here", "nowhere"}) == {"here"}


async def unfinished(database: Database) -> None:
    request = PassRequest("backfill", asked={"since": "90d"})
    assert await database.history().unfinished(request, int) is None


async def of_other_modes(database: Database) -> set[str]:
    pages = JournalReader(database.engine).passes(100, modes=OTHERS)
    return {str(each.id) async for page in pages for each in page}


async def listing(database: Database) -> None:
    assert len(await of_other_modes(database)) == 1


async def pruned(database: Database) -> None:
    assert await Pruning(database.engine, *OURS, journal=90 * DAY).prune() == 1


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        pytest.param(heartbeat, "passes_heartbeat", id="heartbeat"),
        pytest.param(found_in, "passes_found_in", id="found_in"),
        pytest.param(unfinished, "passes_not_of_feed", id="unfinished"),
        pytest.param(listing, "passes_not_of_feed", id="listing"),
        pytest.param(pruned, "passes_not_of_feed", id="pruned"),
    ],
)
async def test_few_of_them_are_read_to_find_others(
    database: Database, ask: Callable[[Database], Awaitable[None]], index: str
) -> None:
    await pass_over(database, 20 * DAY, mode="run")
    await passes_of_the_feed(database, COUNT, until=10 * DAY)
    await database.execute("VACUUM ANALYZE reconciler.passes")
    await database.execute("ANALYZE reconciler.changes")
    before = await scans(database, index)

    async def is_settled() -> bool:
        await count_now(database)
        return await rows_read(database) >= 2 * COUNT  # by the inserts

    await eventually(is_settled)
    read_before = await rows_read(database)

    await ask(database)

    async def is_counted() -> bool:
        await count_now(database)
        return await scans(database, index) > before

    await eventually(is_counted)
    assert await rows_read(database) - read_before < COUNT / 4


@pytest.mark.parametrize("recent", [1, 1000])
async def test_they_show_where_workflows_were_found(
    database: Database, monkeypatch: pytest.MonkeyPatch, recent: int
) -> None:
    monkeypatch.setattr(earlier, "RECENT", recent)
    await passes_of_the_feed(database, COUNT)
    await pass_over(database, mode="run")

    assert await database.history().found_in({"here", "nowhere"}) == {"here"}


async def test_they_are_removed_after_the_retention(database: Database) -> None:
    await passes_of_the_feed(database, COUNT)
    age = timedelta(minutes=COUNT - 10.5)

    assert await Pruning(database.engine, *OURS, journal=age).prune() == 2 * 11
    assert len(await kept(database)) == COUNT - 11


async def count_now(database: Database) -> None:
    """Close idle connections: an open one counts what it read only ten seconds later."""
    await database.engine.dispose()
    await database.pool.expire_connections()


async def scans(database: Database, index: str) -> int:
    query = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = $1"
    return await number(database, query, index)


async def rows_read(database: Database) -> int:
    query = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = $1"
    return await number(database, query, "passes")


async def number(database: Database, query: str, name: str) -> int:
    ((value,),) = [tuple(row.values()) for row in await database.fetch(query, name)]
    return int(str(value))
