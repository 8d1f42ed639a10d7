"""How far a pass has come, in `reconciler.passes`: noted down, taken over, given up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from reconciler.core.errors import DatabaseUnfit, Unusable
from reconciler.core.model import LeaveReason
from reconciler.core.progress import Progress, Span
from reconciler.core.report import PassReport
from reconciler.core.request import PassRequest
from reconciler.core.verdict import StatusValues
from reconciler.postgres.journal.history import PassHistory
from reconciler.postgres.table.mapping import MappedTable
from tests.conftest import Database
from tests.support.factories import finish, row
from tests.support.polling import eventually

ASKED = {"since": "2026-01-01", "until": None, "missing": "fail"}


def begun(**fields: Any) -> PassReport:
    report = PassReport(str(uuid4()), PassRequest("backfill"), started_at=datetime.now(UTC))
    report.request.asked = {**ASKED, "from": "2026-01-01T00:00:00+00:00"}
    failing = finish(row(2), missing=LeaveReason.DELETED)
    report.progress = Progress(Span(3, 9), [Span.of(None, 3, [failing])])
    for name, value in fields.items():
        setattr(report, name, value)
    return report


async def noted(database: Database, **fields: Any) -> tuple[PassHistory, PassReport]:
    """A pass that has noted down a page."""
    history, report = database.history(), begun(**fields)
    await history.on_start(report)
    await history.on_page(report, ())
    return history, report


async def stored(database: Database, report: PassReport) -> Mapping[str, Any]:
    query = "SELECT *, cursor->'rest'->>'after' AS after FROM reconciler.passes WHERE id = $1"
    return (await database.fetch(query, UUID(report.pass_id)))[0]


@pytest.fixture
async def table(database: Database) -> MappedTable:
    return await database.table()


async def test_after_each_page_it_is_noted_down_how_far_the_pass_has_come(
    database: Database,
) -> None:
    history, report = await noted(database)
    assert (await stored(database, report))["after"] == "3"

    report.progress = Progress(Span(6, 9))
    report.tally.scanned = 6
    await history.on_page(report, ())

    (row,) = await database.fetch("SELECT *, report->>'scanned' AS n FROM reconciler.passes")
    assert (await stored(database, report))["after"] == "6"
    assert (row["n"], row["finished_at"], row["outcome"]) == ("6", None, None)


@pytest.mark.parametrize("fields", [{"asked": None}, {"progress": None}, {"dry_run": True}])
async def test_of_a_pass_that_cannot_be_gone_on_with_nothing_is_noted_down(
    database: Database, fields: dict[str, Any]
) -> None:
    await noted(database, **fields)

    rows = await database.fetch("SELECT 1 FROM reconciler.passes WHERE cursor IS NOT NULL")
    assert rows == []


async def test_a_pass_over_every_row_was_asked_nothing_in_particular(database: Database) -> None:
    await noted(database, asked=None)

    assert await database.fetch("SELECT 1 FROM reconciler.passes WHERE asked IS NULL") == [
        {"?column?": 1}
    ]


async def test_it_is_gone_on_with_as_it_was(database: Database, table: MappedTable) -> None:
    _, report = await noted(database, scanned=4)
    report.tally.left[LeaveReason.OPEN] = 4

    resumed = await database.history().resume("backfill", ASKED, table)

    assert resumed is not None
    assert resumed.progress == report.progress
    assert (resumed.pass_id, resumed.request.mode, resumed.tally.scanned) == (
        report.pass_id,
        "backfill",
        4,
    )
    assert (resumed.request.asked, resumed.resumed) == (report.request.asked, True)
    assert resumed.started_at == report.started_at
    assert not resumed.request.dry_run


async def test_to_look_at_what_is_unfinished_takes_nothing_from_anybody(
    database: Database, table: MappedTable
) -> None:
    history, report = await noted(database)

    seen = await database.history().unfinished("backfill", ASKED, table)

    assert seen is not None
    assert seen.progress == report.progress
    await history.on_page(report, ())


@pytest.mark.parametrize(
    ("mode", "asked"),
    [
        ("backfill", {**ASKED, "since": "2026-01-02"}),
        ("backfill", {**ASKED, "since": None}),
        ("backfill", {**ASKED, "missing": "leave"}),
        ("backfill", {**ASKED, "workflow_type": None}),
        ("undo", ASKED),
    ],
)
async def test_what_was_asked_to_do_something_else_is_not_gone_on_with(
    database: Database, table: MappedTable, mode: str, asked: dict[str, Any]
) -> None:
    await noted(database)

    assert await database.history().resume(mode, asked, table) is None
    assert await database.history().unfinished(mode, asked, table) is None


@pytest.mark.parametrize("of", [("other", "default"), ("workflow_executions", "other")])
async def test_what_was_over_something_else_is_not_gone_on_with(
    database: Database, table: MappedTable, of: tuple[str, str]
) -> None:
    history, report = await noted(database)
    other = PassHistory(database.engine, *of, StatusValues())

    assert await other.resume("backfill", ASKED, table) is None
    await other.give_up("backfill", ASKED)
    await history.on_page(report, ())
    assert await database.history().resume("backfill", ASKED, table) is not None


async def test_the_last_of_several_is_gone_on_with(database: Database, table: MappedTable) -> None:
    await noted(database)
    _, last = await noted(database)
    await noted(database, asked={**ASKED, "since": "2025-01-01"})

    resumed = await database.history().resume("backfill", ASKED, table)

    assert resumed is not None
    assert resumed.pass_id == last.pass_id


async def test_a_pass_that_came_to_its_end_is_not_gone_on_with(
    database: Database, table: MappedTable
) -> None:
    history, report = await noted(database)
    report.progress = Progress()
    await history.on_pass(report)

    assert (await stored(database, report))["cursor"] is None
    assert await database.history().resume("backfill", ASKED, table) is None


@pytest.mark.parametrize("error", ["stopped before its end", None], ids=["stopped", "at a limit"])
async def test_a_pass_that_ended_before_its_end_is_gone_on_with(
    database: Database, table: MappedTable, error: str | None
) -> None:
    history, report = await noted(database)
    report.error = error
    await history.on_pass(report)
    ended = await stored(database, report)
    assert ended["after"] == "3"
    assert ended["finished_at"] is not None

    resumed = await database.history().resume("backfill", ASKED, table)

    assert resumed is not None
    assert (resumed.progress, resumed.error) == (report.progress, None)
    again = await stored(database, report)
    assert (again["finished_at"], again["outcome"], again["error"]) == (None, None, None)


async def test_what_is_given_up_is_not_gone_on_with(database: Database, table: MappedTable) -> None:
    await noted(database)
    await noted(database)
    _, other = await noted(database, asked={**ASKED, "since": "2025-01-01"})

    await database.history().give_up("backfill", ASKED)

    assert await database.history().resume("backfill", ASKED, table) is None
    assert (await stored(database, other))["after"] == "3"


@pytest.mark.parametrize("kind", ["text", "uuid"])
async def test_a_key_that_has_got_another_type_meanwhile_is_one_clear_line(
    database: Database, kind: str
) -> None:
    _, report = await noted(database)
    await database.execute(
        "ALTER TABLE workflow_executions ALTER id DROP IDENTITY;"
        f"ALTER TABLE workflow_executions ALTER id TYPE {kind} USING id::text::{kind}"
    )
    table = await database.table()

    told = f"cannot resume pass {report.pass_id}: .* the key had another type .*: use --restart"
    for going_on in (database.history().unfinished, database.history().resume):
        with pytest.raises(DatabaseUnfit, match=told):
            await going_on("backfill", ASKED, table)

    assert (await stored(database, report))["after"] == "3", "whoever goes back to it can go on"


class TestWhoeverHadItBefore:
    async def test_can_note_down_nothing_more(self, database: Database, table: MappedTable) -> None:
        before, report = await noted(database)
        resumed = await database.history().resume("backfill", ASKED, table)
        assert resumed is not None

        report.progress = Progress(Span(8, 9))
        with pytest.raises(
            Unusable, match=f"another process has gone on with pass {resumed.pass_id}"
        ):
            await before.on_page(report, ())

        assert (await stored(database, report))["after"] == "3"

    async def test_cannot_say_how_it_ended(self, database: Database, table: MappedTable) -> None:
        before, report = await noted(database)
        resumed = await database.history().resume("backfill", ASKED, table)
        assert resumed is not None

        report.error = "away"
        await before.on_pass(report)

        row = await stored(database, report)
        assert (row["outcome"], row["finished_at"], row["after"]) == (None, None, "3")

    async def test_cannot_say_how_it_ended_after_its_end_either(
        self, database: Database, table: MappedTable
    ) -> None:
        before, report = await noted(database)
        after = database.history()
        resumed = await after.resume("backfill", ASKED, table)
        assert resumed is not None
        resumed.progress = Progress()
        await after.on_pass(resumed)
        ended = await stored(database, report)

        report.error = "another process has gone on with it"
        await before.on_pass(report)

        assert await stored(database, report) == ended
        assert ended["outcome"] == "ok"

    async def test_is_not_heard_while_the_one_that_goes_on_is(
        self, database: Database, table: MappedTable
    ) -> None:
        await noted(database)
        after = database.history()
        resumed = await after.resume("backfill", ASKED, table)
        assert resumed is not None
        await after.on_start(resumed)

        resumed.progress = Progress(Span(8, 9))
        await after.on_page(resumed, ())

        assert (await stored(database, resumed))["after"] == "8"


async def test_a_pass_that_is_given_up_while_it_is_to_be_resumed_is_not_resumed(
    database: Database, table: MappedTable
) -> None:
    history, report = await noted(database)

    async def waits() -> bool:
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = "
        return bool(await database.fetch(f"{waiting} current_database()"))

    async with database.pool.acquire() as other, other.transaction():
        given_up = "UPDATE reconciler.passes SET cursor = NULL, finished_at = now() WHERE id = $1"
        await other.execute(given_up, UUID(report.pass_id))
        resuming = asyncio.create_task(history.resume("backfill", ASKED, table))
        await eventually(waits)

    assert await resuming is None
    assert (await stored(database, report))["finished_at"] is not None
