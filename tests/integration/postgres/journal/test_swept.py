"""How far passes have swept: told to the next one, whichever process it is in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import uuid4

import pytest

from reconciler.core.ports import PassView
from reconciler.core.report import PassReport
from reconciler.core.request import PassRequest
from reconciler.core.sweep import Swept
from reconciler.core.verdict import StatusValues
from reconciler.postgres.journal.history import PassHistory
from reconciler.postgres.journal.unrecorded import NoHistory
from tests.conftest import Database

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class History(Protocol):
    async def on_start(self, report: PassView) -> None: ...
    async def on_pass(self, report: PassView) -> None: ...


def a_pass(began: datetime = NOON, mode: str = "run", *, dry_run: bool = False) -> PassReport:
    return PassReport(str(uuid4()), PassRequest(mode, dry_run=dry_run), started_at=began)


async def swept(history: History, report: PassReport, end: float) -> None:
    await history.on_start(report)
    report.sweep_end = end
    await history.on_pass(report)


async def told(history: History) -> Swept | None:
    report = a_pass(NOON + timedelta(days=1))
    await history.on_start(report)
    return report.swept


@pytest.fixture(params=["ours", "none"])
def history(request: pytest.FixtureRequest, database: Database) -> History:
    return NoHistory(database.engine) if request.param == "none" else database.history()


async def test_before_the_first_pass_nothing_is_known(history: History) -> None:
    assert await told(history) is None


async def test_the_last_pass_says_when_it_began_and_how_far_it_came(history: History) -> None:
    await swept(history, a_pass(NOON), 0.25)
    await swept(history, a_pass(NOON + MINUTE), 1 / 3)

    assert await told(history) == Swept(NOON + MINUTE, 1 / 3), "to the last digit"


async def test_one_that_did_not_come_to_its_end_has_not_swept(history: History) -> None:
    await swept(history, a_pass(NOON), 0.25)
    aborted = a_pass(NOON + MINUTE)
    aborted.error = "away"
    await swept(history, aborted, 0.5)

    assert await told(history) == Swept(NOON, 0.25)


async def test_one_that_is_under_way_has_not_either(history: History) -> None:
    await swept(history, a_pass(NOON), 0.25)
    await history.on_start(a_pass(NOON + MINUTE))

    assert await told(history) == Swept(NOON, 0.25)


async def test_one_that_is_gone_on_with_is_told_too(database: Database) -> None:
    history = database.history()
    await swept(history, a_pass(NOON), 0.25)
    report = a_pass(NOON + MINUTE, "backfill")
    report.resumed = True

    await history.on_start(report)

    assert report.swept == Swept(NOON, 0.25)


class TestInTheDatabase:
    async def test_another_process_goes_on_there(self, database: Database) -> None:
        await swept(database.history(), a_pass(NOON), 0.25)

        assert await told(database.history()) == Swept(NOON, 0.25)

    async def test_a_pass_over_some_rows_has_not_swept(self, database: Database) -> None:
        await swept(database.history(), a_pass(NOON, "once"), 0.25)
        await swept(database.history(), a_pass(NOON + MINUTE, "backfill"), 0.5)

        assert await told(database.history()) == Swept(NOON, 0.25)

    @pytest.mark.parametrize("of", [("other", "default"), ("workflow_executions", "other")])
    async def test_each_table_and_namespace_has_its_own(
        self, database: Database, of: tuple[str, str]
    ) -> None:
        await swept(PassHistory(database.engine, *of, StatusValues()), a_pass(), 0.25)

        assert await told(database.history()) is None

    async def test_passes_of_a_version_before_say_nothing(self, database: Database) -> None:
        await swept(database.history(), a_pass(), 0.25)
        await database.execute("UPDATE reconciler.passes SET report = report - 'sweep_end'")

        assert await told(database.history()) is None

    async def test_a_dry_run_neither_asks_nor_tells(self, database: Database) -> None:
        """It needs no right to anything of ours."""
        await database.execute("DROP SCHEMA reconciler CASCADE")
        report = a_pass(dry_run=True)

        await swept(database.history(), report, 0.25)

        assert report.swept is None
        assert report.error is None


async def test_without_a_history_it_is_forgotten_with_the_process(database: Database) -> None:
    await swept(NoHistory(database.engine), a_pass(), 0.25)

    assert await told(NoHistory(database.engine)) is None
