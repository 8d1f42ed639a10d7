"""Stuck rows as people see them: in groups, by filters, page by page."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.core.stuck.condition import Group, Groups, Reason, StuckRow
from reconciler.core.stuck.summary import ALL, Selection
from reconciler.postgres.journal.stuck import reader
from tests.conftest import Database
from tests.integration.postgres.journal.stuck.test_record import filled
from tests.support.factories import NOW
from tests.support.stuck import SINCE, Entries, row_at_risk, stuck_row

DAY = timedelta(days=1)


async def ids(entries: Entries, which: Selection = ALL, limit: int | None = None) -> list[str]:
    pages = [page async for page in entries.shown.rows(which, limit)]
    return [row.workflow_id for page in pages for row in page]


def group(text: str, rows: int, oldest: StuckRow) -> Group:
    return Group(
        reason=oldest.reason,
        workflow_type=oldest.workflow_type,
        text=text,
        rows=rows,
        oldest_since=oldest.since,
        oldest_id=oldest.workflow_id,
        oldest_text=oldest.text,
    )


async def test_groups_are_rows_of_one_problem_the_largest_first(database: Database) -> None:
    entries = await filled(database, 7)
    older = stuck_row(3, since=SINCE - DAY)
    of_another_type = stuck_row(4, workflow_type="Refund", since=SINCE - DAY)
    paused = [stuck_row(n, reason=Reason.PAUSED, cause="") for n in (5, 6)]
    await entries.record([stuck_row(1), stuck_row(2), older, of_another_type, *paused], [], [])

    found = await entries.shown.groups()

    declined = "charge: card N declined"
    assert found == Groups(
        [
            group(declined, 3, older),
            group("", 2, paused[0]),
            group(declined, 1, of_another_type),
        ],
        groups=3,
        rows=6,
    )
    some = await entries.shown.groups(limit=1)
    assert (len(some.largest), some.groups, some.rows) == (1, 3, 6)
    assert await entries.shown.groups(Selection(frozenset([Reason.OVERDUE]))) == Groups([], 0, 0)


async def test_only_some_of_them(database: Database) -> None:
    entries = await filled(database, 4)
    ((now,),) = [row.values() for row in await database.fetch("SELECT now()")]
    assert isinstance(now, type(NOW))
    await entries.record(
        [
            stuck_row(1, since=now - DAY),
            stuck_row(2, since=now),
            stuck_row(3, since=now, reason=Reason.PAUSED),
            stuck_row(4, since=now, workflow_type="Refund"),
        ],
        [],
        [],
    )

    for which, expected in {
        Selection(): ["wf-1", "wf-2", "wf-3", "wf-4"],
        Selection(frozenset([Reason.PAUSED])): ["wf-3"],
        Selection(workflow_type="Refund"): ["wf-4"],
        Selection(older_than=timedelta(hours=1)): ["wf-1"],
        Selection(frozenset([Reason.PAUSED]), "Refund"): [],
    }.items():
        assert await ids(entries, which) == expected
        assert sum((await entries.shown.counts(which)).values()) == len(expected)
        assert (await entries.shown.groups(which)).rows == len(expected)


async def test_rows_are_read_page_by_page(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "PAGE", 2)
    entries = await filled(database, 5)
    oldest = stuck_row(5, since=SINCE - DAY)
    await entries.record([*map(stuck_row, range(1, 5)), oldest], [], [])

    assert await ids(entries) == ["wf-5", "wf-1", "wf-2", "wf-3", "wf-4"]
    assert await ids(entries, limit=3) == ["wf-5", "wf-1", "wf-2"]
    assert await ids(entries, limit=0) == []


async def test_what_is_lost_first_is_first(database: Database) -> None:
    entries = await filled(database, 3)
    risks = row_at_risk(1, lost_at=None), row_at_risk(2), row_at_risk(3, lost_at=NOW)
    await entries.record([], risks, [])

    found = await entries.shown.at_risk()

    assert [row.workflow_id for row in found] == ["wf-3", "wf-2", "wf-1"]
    assert found[0] == row_at_risk("3", workflow_id="wf-3", lost_at=NOW)
    assert len(await entries.shown.at_risk(limit=1)) == 1
    assert await entries.shown.counts_at_risk() == {"never_started": 3}
