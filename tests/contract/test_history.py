"""What every `History` promises: that in PostgreSQL, and the null one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from reconciler.core.errors import Unusable
from reconciler.core.model import LeaveReason
from reconciler.core.policy import StatusValues
from reconciler.core.ports import Heartbeat, History
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassRequest
from reconciler.core.report.sweep import Rest, Swept
from reconciler.core.report.tally import Tally
from reconciler.core.undo import UndoReport
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.journal.bookkeeping import Bookkeeping
from tests.conftest import Database
from tests.support.factories import NOW
from tests.support.tables.past import OURS, change

MINUTE = timedelta(minutes=1)
SWEPT = Swept(NOW, NOW - MINUTE, Rest(3, 9))
LATER = Swept(NOW, NOW - MINUTE, Rest(8, 9))
ASKED = {"since": "2026-01-01", "until": None, "missing": "fail"}
SAME = PassRequest("backfill", asked=ASKED)
OTHER = PassRequest("backfill", asked={**ASKED, "since": "2025-01-01"})
#: What a pass records besides is not compared.
WITH_BOUNDS = PassRequest("backfill", asked={**ASKED, "from": "2026-01-01T00:00:00+00:00"})


@dataclass(frozen=True)
class Bench:
    """One database, and the histories of as many processes as a test asks for."""

    database: Database
    #: The difference: without it, nothing outlives the process, so nothing can be resumed, and no
    #: journal says what was written. Each test that depends on it says what happens then.
    recorded: bool

    def history(self) -> History:
        """The history of another process."""
        books = Bookkeeping(self.database.engine, journal=self.recorded)
        return books.history(*OURS, StatusValues())

    async def unfinished(self, request: PassRequest = SAME) -> PassReport | None:
        return await self.history().unfinished(request, int)

    async def resumed(self, request: PassRequest = SAME) -> PassReport | None:
        return await self.history().resume(request, int)


@pytest.fixture(params=[True, False], ids=["recorded", "unrecorded"])
async def bench(request: pytest.FixtureRequest, database: Database) -> Bench:
    if not request.param:
        await database.execute("DROP SCHEMA reconciler CASCADE")
    return Bench(database, request.param)


@pytest.fixture
def history(bench: Bench) -> History:
    return bench.history()


def a_pass(began: datetime = NOW, **fields: Any) -> PassReport:
    report = PassReport.begin(PassRequest("run"), began)
    for name, value in fields.items():
        setattr(report, name, value)
    return report


async def passed(history: History, report: PassReport) -> None:
    """A complete pass."""
    await history.begin(report)
    await history.end(report)


async def swept(history: History) -> Swept | None:
    """What the next pass learns about the one before."""
    return await history.begin(a_pass(NOW + timedelta(days=1)))


async def checkpointed(
    history: History, request: PassRequest = WITH_BOUNDS, began: datetime = NOW
) -> PassReport:
    """A pass that has made some progress and has not completed."""
    report = PassReport.begin(request, began)
    await history.begin(report)
    failing = Span(None, 3, Tally(scanned=3), failing=Counter({LeaveReason.DELETED: 1}))
    report.progress = Progress(Span(5, 9), [failing])
    report.done = Tally(scanned=2, left=Counter({LeaveReason.OPEN: 2}))
    await history.checkpoint(report)
    return report


class TestHeartbeat:
    async def test_is_none_before_the_first_pass(self, history: History) -> None:
        assert await history.heartbeat() is None

        await history.begin(a_pass())

        assert await history.heartbeat() is None

    async def test_is_the_last_good_pass(self, history: History) -> None:
        last = a_pass(duration_seconds=12.5)
        last.done.left[LeaveReason.UNKNOWN] = 1
        await passed(history, a_pass())
        await passed(history, last)
        await passed(history, a_pass(error="Temporal is unreachable"))

        beat = await history.heartbeat()

        assert beat is not None
        assert (beat.pass_id, beat.duration) == (last.pass_id, timedelta(seconds=12.5))

    async def test_is_by_the_databases_clock(self, bench: Bench) -> None:
        history, clock = bench.history(), "SELECT clock_timestamp() AS now"
        await passed(history, a_pass(NOW - timedelta(days=9)))

        beat = await history.heartbeat()

        assert isinstance(beat, Heartbeat)
        (row,) = await bench.database.fetch(clock)
        assert isinstance(row["now"], datetime)
        assert row["now"] - MINUTE < beat.finished_at <= beat.read_at <= row["now"]

    @pytest.mark.parametrize("of", ["some rows", "an undo"])
    async def test_is_of_passes_over_every_row(self, history: History, of: str) -> None:
        last = a_pass()
        await passed(history, last)
        if of == "an undo":
            undo = UndoReport.begin(PassRequest("undo", asked={"undo": last.pass_id}), NOW)
            await history.begin(undo)
            await history.end(undo)
        else:
            await passed(history, PassReport.begin(SAME, NOW))

        beat = await history.heartbeat()

        assert beat is not None
        assert beat.pass_id == last.pass_id

    async def test_of_another_process_is_known_if_it_is_recorded(self, bench: Bench) -> None:
        last = a_pass()
        await passed(bench.history(), last)

        beat = await bench.history().heartbeat()

        assert (beat and beat.pass_id) == (last.pass_id if bench.recorded else None)


class TestSweep:
    async def test_is_unknown_before_the_first_pass(self, history: History) -> None:
        assert await swept(history) is None

    @pytest.mark.parametrize(
        "state",
        [
            Swept(NOW, NOW - MINUTE, rows=7),
            Swept(NOW, NOW - MINUTE, Rest(None, 9), rows=7),
            Swept(NOW, NOW - MINUTE, Rest(3, 9), 2, 7, owed=1 / 3),
            None,
        ],
    )
    async def test_is_exactly_that_of_the_last_pass(
        self, history: History, state: Swept | None
    ) -> None:
        await passed(history, a_pass(swept=SWEPT))
        await passed(history, a_pass(NOW + MINUTE, swept=state))

        assert await swept(history) == state

    @pytest.mark.parametrize(
        ("key", "recorded"),
        [
            *[(-5, -5), (True, True), ("ü/'\"", "ü/'\""), ("", "")],
            (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
            *[(b"\0\xff", {"bytes": "00ff"}), ("a\udcff", {"bytes": "61ff"})],
            *[(Decimal("NaN"), "NaN"), (Decimal("1.50"), "1.50"), (math.inf, "inf")],
        ],
    )
    async def test_has_its_keys_as_json(self, history: History, key: Any, recorded: Any) -> None:
        """Also in memory, because a column's type may change from pass to pass."""
        await passed(history, a_pass(swept=replace(SWEPT, rest=Rest(None, key))))

        found = await swept(history)

        assert found is not None
        assert found.rest == Rest(None, recorded)
        await passed(history, a_pass(NOW + MINUTE, swept=found))
        assert await swept(history) == found, "recorded once more"

    async def test_an_aborted_pass_does_not_count(self, history: History) -> None:
        await passed(history, a_pass(swept=SWEPT))
        await passed(history, a_pass(NOW + MINUTE, swept=LATER, error="unreachable"))

        assert await swept(history) == SWEPT

    async def test_a_pass_under_way_does_not_count(self, history: History) -> None:
        await passed(history, a_pass(swept=SWEPT))
        await history.begin(a_pass(NOW + MINUTE, swept=LATER))

        assert await swept(history) == SWEPT

    async def test_is_of_passes_in_any_mode_over_every_row(self, history: History) -> None:
        await passed(history, a_pass(swept=SWEPT))
        once = PassReport.begin(PassRequest("once"), NOW)
        once.swept = LATER
        await passed(history, once)
        some = PassReport.begin(SAME, NOW + MINUTE)
        await passed(history, some)

        assert await swept(history) == LATER

    async def test_of_another_process_is_known_if_it_is_recorded(self, bench: Bench) -> None:
        await passed(bench.history(), a_pass(swept=SWEPT))

        assert await swept(bench.history()) == (SWEPT if bench.recorded else None)


class TestWritten:
    @pytest.mark.parametrize("rows", [0, 3])
    async def test_is_what_the_journal_says_if_there_is_one(self, bench: Bench, rows: int) -> None:
        history, report = bench.history(), a_pass()
        await history.begin(report)
        if bench.recorded:
            await change(bench.database, report.pass_id, rows)

        written = await history.written(report.pass_id)

        in_journal = {"failed": rows} if rows else {}
        assert written == (in_journal if bench.recorded else None)


class TestResume:
    @pytest.mark.parametrize("look", [Bench.unfinished, Bench.resumed])
    async def test_another_process_finds_the_pass_at_its_last_checkpoint(
        self, bench: Bench, look: Any
    ) -> None:
        report = await checkpointed(bench.history())

        found: PassReport | None = await look(bench)

        if not bench.recorded:
            assert found is None
            return
        assert found is not None
        assert (found.pass_id, found.request) == (report.pass_id, WITH_BOUNDS)
        assert (found.started_at, found.resumed) == (report.started_at, True)
        assert (found.progress, found.done) == (report.progress, report.done)

    async def test_a_resumed_pass_begins_and_ends_like_any_other(self, bench: Bench) -> None:
        await checkpointed(bench.history())
        history = bench.history()
        report = await history.resume(SAME, int) or PassReport.begin(SAME, NOW)

        await history.begin(report)
        report.progress = Progress()
        await history.checkpoint(report)
        await history.end(report)

        assert await bench.unfinished() is None

    async def test_the_process_that_ran_it_before_can_no_longer_record(self, bench: Bench) -> None:
        before = bench.history()
        report = await checkpointed(before)
        resumed = await bench.resumed()

        report.progress = Progress(Span(8, 9))
        if bench.recorded:
            why = f"another process has resumed pass {report.pass_id}"
            with pytest.raises(Unusable, match=why):
                await before.checkpoint(report)
        else:
            await before.checkpoint(report)
        await before.end(report)

        found = await bench.unfinished()
        assert (found and found.progress) == (resumed and resumed.progress)

    async def test_looking_at_it_does_not_take_it_over(self, bench: Bench) -> None:
        history = bench.history()
        report = await checkpointed(history)

        await bench.unfinished()

        await history.checkpoint(report)

    async def test_the_last_of_several_is_resumed(self, bench: Bench) -> None:
        await checkpointed(bench.history())
        last = await checkpointed(bench.history(), began=NOW + MINUTE)
        await checkpointed(bench.history(), began=NOW - MINUTE)
        await checkpointed(bench.history(), OTHER, NOW + 2 * MINUTE)

        resumed = await bench.resumed()

        assert (resumed and resumed.pass_id) == (last.pass_id if bench.recorded else None)

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
    async def test_a_pass_of_another_request_is_not_resumed(
        self, bench: Bench, mode: str, asked: Mapping[str, Any]
    ) -> None:
        await checkpointed(bench.history())

        assert await bench.unfinished(PassRequest(mode, asked=asked)) is None
        assert await bench.resumed(PassRequest(mode, asked=asked)) is None

    async def test_a_completed_pass_is_not_resumed(self, bench: Bench) -> None:
        history = bench.history()
        report = await checkpointed(history)
        report.progress = Progress()
        await history.end(report)

        assert await bench.unfinished() is None
        assert await bench.resumed() is None

    async def test_passes_that_were_given_up_are_not_resumed(self, bench: Bench) -> None:
        await checkpointed(bench.history())
        await checkpointed(bench.history())
        kept = await checkpointed(bench.history(), OTHER)

        await bench.history().give_up(SAME)

        assert await bench.resumed() is None
        found = await bench.unfinished(OTHER)
        assert (found and found.pass_id) == (kept.pass_id if bench.recorded else None)


@pytest.mark.parametrize("journal", [True, False], ids=["recorded", "unrecorded"])
async def test_an_unreachable_database_ends_the_pass_where_it_is_needed(journal: bool) -> None:
    report = PassReport.begin(SAME, NOW)
    report.progress = Progress(Span(None, 9))
    async with using_engine("postgresql://nobody@127.0.0.1:1/app") as engine:
        history = Bookkeeping(engine, journal=journal).history(*OURS, StatusValues())
        calls = {
            "begin": history.begin(report),
            "checkpoint": history.checkpoint(report),
            "written": history.written(report.pass_id),
            "end": history.end(report),
            "heartbeat": history.heartbeat(),
            "unfinished": history.unfinished(SAME, int),
            "resume": history.resume(SAME, int),
            "give_up": history.give_up(SAME),
        }
        failed = {}
        for name, call in calls.items():
            try:
                await call
            except Unusable as error:
                failed[name] = str(error)

    # Without a schema, the heartbeat needs the clock all the same.
    assert failed.keys() == (calls.keys() if journal else {"heartbeat"})
    assert all("unreachable" in why for why in failed.values())
