"""A pass that was given up: by --restart, or because it was undone."""

from __future__ import annotations

import pytest

from reconciler.core.errors import Unusable
from reconciler.postgres.schema import passes
from tests.conftest import Database
from tests.integration.postgres.journal.test_resume import SAME, recorded, stored


@pytest.mark.parametrize("how", ["restarted", "undone"])
async def test_the_process_that_has_it_can_record_nothing_more(
    database: Database, how: str
) -> None:
    before, report = await recorded(database)
    if how == "restarted":
        await database.history().give_up(SAME)
    else:
        await database.history().close(passes.c.mode == "backfill")

    with pytest.raises(Unusable):
        await before.checkpoint(report)
    await before.end(report)

    row = await stored(database, report)
    assert (row["cursor"], row["outcome"]) == (None, "aborted")
    assert row["finished_at"] is not None


async def test_how_it_ended_before_stays(database: Database) -> None:
    history, report = await recorded(database)
    await history.end(report)
    ended = await stored(database, report)

    await database.history().give_up(SAME)

    row = await stored(database, report)
    assert (row["outcome"], row["finished_at"]) == (ended["outcome"], ended["finished_at"])
