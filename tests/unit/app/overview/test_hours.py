"""The hours of a day, of which only those that are not over are read again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from reconciler.app.overview.hours import HOURS, Hours

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
TWELVE = datetime(2026, 5, 4, 12, tzinfo=UTC)


class Journal:
    def __init__(self) -> None:
        self.rows: dict[datetime, dict[str, int]] = {}
        self.since: list[datetime] = []

    async def read(self, since: datetime) -> Sequence[tuple[datetime, str, int]]:
        self.since.append(since)
        return [
            (at, status, count)
            for at, rows in self.rows.items()
            if at >= since
            for status, count in rows.items()
        ]


def shown(hours: Sequence[object]) -> dict[datetime, dict[str, int]]:
    return {each.begins_at: dict(each.rows) for each in hours if each.rows}  # type: ignore[attr-defined]


async def test_a_day_is_read_once_and_then_the_present_hour() -> None:
    journal = Journal()
    hours = Hours(journal.read)
    journal.rows = {TWELVE - 5 * HOUR: {"failed": 3}, TWELVE: {"failed": 1, "completed": 2}}
    first = await hours.up_to(TWELVE + 10 * MINUTE)
    journal.rows[TWELVE]["failed"] = 4
    second = await hours.up_to(TWELVE + 20 * MINUTE)

    assert [each.begins_at for each in first] == [TWELVE - n * HOUR for n in range(23, -1, -1)]
    assert len(first) == HOURS
    assert shown(second) == journal.rows
    assert journal.since == [TWELVE - 23 * HOUR, TWELVE]


async def test_an_hour_is_over_a_little_later_for_changes_that_are_committed_late() -> None:
    journal = Journal()
    hours = Hours(journal.read)
    await hours.up_to(TWELVE + HOUR + MINUTE)
    journal.rows = {TWELVE: {"failed": 1}}

    assert shown(await hours.up_to(TWELVE + HOUR + 5 * MINUTE)) == journal.rows
    await hours.up_to(TWELVE + HOUR + 6 * MINUTE)
    assert journal.since == [TWELVE - 22 * HOUR, TWELVE, TWELVE + HOUR]


async def test_hours_without_a_view_are_read_by_the_next_one_and_old_ones_leave() -> None:
    journal = Journal()
    hours = Hours(journal.read)
    journal.rows = {TWELVE - 23 * HOUR: {"failed": 1}, TWELVE: {"failed": 2}}
    await hours.up_to(TWELVE)
    journal.rows |= {TWELVE + 3 * HOUR: {"failed": 5}}

    assert shown(await hours.up_to(TWELVE + 4 * HOUR)) == {
        TWELVE: {"failed": 2},
        TWELVE + 3 * HOUR: {"failed": 5},
    }
    assert shown(await hours.up_to(TWELVE + 400 * HOUR)) == {}


async def test_a_clock_that_is_set_back_loses_no_hour() -> None:
    journal = Journal()
    hours = Hours(journal.read)
    journal.rows = {TWELVE - HOUR: {"failed": 1}}
    await hours.up_to(TWELVE + 5 * HOUR)

    assert shown(await hours.up_to(TWELVE)) == journal.rows
