"""How far a pass has come, in `reconciler.passes`: recorded, resumed, given up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.model import LeaveReason
from reconciler.core.policy import StatusValues
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassRequest
from reconciler.core.report.tally import Tally
from reconciler.postgres.journal.history import PassHistory
from tests.conftest import Database
from tests.support.polling import eventually

ASKED = {"since": "2026-01-01", "until": None, "missing": "fail"}
SAME = PassRequest("backfill", asked=ASKED)


async def recorded(
    database: Database, request: PassRequest = SAME, progress: Progress | None = None
) -> tuple[PassHistory, PassReport]:
    """A pass that has recorded a page."""
    history = database.history()
    report = PassReport(str(uuid4()), request, started_at=datetime.now(UTC))
    failing = Span(None, 3, Tally(scanned=3), failing=Counter({LeaveReason.DELETED: 1}))
    report.progress = progress or Progress(Span(3, 9), [failing])
    await history.begin(report)
    await history.checkpoint(report)
    return history, report


async def stored(database: Database, report: PassReport) -> Mapping[str, Any]:
    query = "SELECT *, cursor->'rest'->>'after' AS after FROM reconciler.passes WHERE id = $1"
    return (await database.fetch(query, UUID(report.pass_id)))[0]


async def test_each_checkpoint_records_how_far_the_pass_has_come(database: Database) -> None:
    history, report = await recorded(database)
    assert (await stored(database, report))["after"] == "3"

    report.progress = Progress(Span(6, 9))
    report.done.scanned = 3
    report.done.add(Tally(scanned=3))
    await history.checkpoint(report)

    (row,) = await database.fetch("SELECT *, report->>'scanned' AS n FROM reconciler.passes")
    assert (await stored(database, report))["after"] == "6"
    assert (row["n"], row["finished_at"], row["outcome"]) == ("6", None, None)


@pytest.mark.parametrize("asked", [None, ASKED])
async def test_of_a_pass_that_cannot_be_resumed_only_the_request_is_recorded(
    database: Database, asked: Mapping[str, Any] | None
) -> None:
    report = PassReport(str(uuid4()), PassRequest("once", asked=asked), datetime.now(UTC))
    report.progress = Progress(Span(3, 9)) if asked is None else None

    await database.history().begin(report)

    recorded = await database.fetch(
        "SELECT asked IS NULL AS every_row FROM reconciler.passes WHERE cursor IS NULL"
    )
    assert recorded == [{"every_row": asked is None}]


@pytest.mark.parametrize("of", [("other", "default"), ("workflow_executions", "other")])
async def test_a_pass_over_something_else_is_not_resumed(
    database: Database, of: tuple[str, str]
) -> None:
    history, report = await recorded(database)
    other = PassHistory(database.engine, *of, StatusValues())

    assert await other.resume(SAME, int) is None
    await other.give_up(SAME)
    await history.checkpoint(report)
    assert await database.history().resume(SAME, int) is not None


@pytest.mark.parametrize("error", ["stopped before its end", None], ids=["stopped", "at a limit"])
async def test_a_pass_that_ended_before_its_end_is_resumed(
    database: Database, error: str | None
) -> None:
    history, report = await recorded(database)
    report.error = error
    await history.end(report)
    ended = await stored(database, report)
    assert ended["after"] == "3"
    assert ended["finished_at"] is not None

    resumed = await database.history().resume(SAME, int)

    assert resumed is not None
    assert (resumed.progress, resumed.error) == (report.progress, None)
    again = await stored(database, report)
    assert (again["finished_at"], again["outcome"], again["error"]) == (None, None, None)


@pytest.mark.parametrize("kind", ["text", "uuid"])
async def test_a_key_that_has_another_type_by_now_is_one_clear_line(
    database: Database, kind: str
) -> None:
    _, report = await recorded(database)
    await database.execute(
        "ALTER TABLE workflow_executions ALTER id DROP IDENTITY;"
        f"ALTER TABLE workflow_executions ALTER id TYPE {kind} USING id::text::{kind}"
    )
    table = await database.table()

    error = f"cannot resume pass {report.pass_id}: .* the key had another type .*: use --restart"
    for look in (database.history().unfinished, database.history().resume):
        with pytest.raises(DatabaseUnfit, match=error):
            await look(SAME, table.read_id)

    assert (await stored(database, report))["after"] == "3", "with the old type it can be resumed"


class TestProcessThatHadItBefore:
    async def test_cannot_say_how_it_ended(self, database: Database) -> None:
        before, report = await recorded(database)
        resumed = await database.history().resume(SAME, int)
        assert resumed is not None

        report.error = "unreachable"
        await before.end(report)

        row = await stored(database, report)
        assert (row["outcome"], row["finished_at"], row["after"]) == (None, None, "3")

    async def test_cannot_say_how_it_ended_after_its_end_either(self, database: Database) -> None:
        before, report = await recorded(database)
        after = database.history()
        resumed = await after.resume(SAME, int)
        assert resumed is not None
        resumed.progress = Progress()
        await after.end(resumed)
        ended = await stored(database, report)

        report.error = "another process has resumed it"
        await before.end(report)

        assert await stored(database, report) == ended
        assert ended["outcome"] == "ok"

    async def test_does_not_keep_the_one_that_resumed_it_from_recording(
        self, database: Database
    ) -> None:
        await recorded(database)
        after = database.history()
        resumed = await after.resume(SAME, int)
        assert resumed is not None
        await after.begin(resumed)

        resumed.progress = Progress(Span(8, 9))
        await after.checkpoint(resumed)

        assert (await stored(database, resumed))["after"] == "8"


async def test_a_pass_that_is_given_up_while_it_is_to_be_resumed_is_not_resumed(
    database: Database,
) -> None:
    history, report = await recorded(database)

    async def waits() -> bool:
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = "
        return bool(await database.fetch(f"{waiting} current_database()"))

    async with database.pool.acquire() as other, other.transaction():
        given_up = "UPDATE reconciler.passes SET cursor = NULL, finished_at = now() WHERE id = $1"
        await other.execute(given_up, UUID(report.pass_id))
        resuming = asyncio.create_task(history.resume(SAME, int))
        await eventually(waits)

    assert await resuming is None
    assert (await stored(database, report))["finished_at"] is not None
