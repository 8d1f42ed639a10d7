"""Rows that visibility shows as open are skipped; all others are described."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from reconciler.core.errors import TemporalUnusable
from reconciler.core.model import Missing, Observation, Open, RunRow
from reconciler.core.policy import StatusValues
from reconciler.core.report.pass_report import PassOutcome
from reconciler.core.report.sweep import Swept
from tests.support.factories import NOW, closed, row
from tests.support.fakes import MemoryStore, ScriptedProbe
from tests.support.passes.bench import FAIL, accounted_for, rows, scripted
from tests.support.passes.sweeping import (
    A_MOMENT_AGO,
    INTERVAL,
    Remembering,
    half_a_minute_ago,
    screened_pass,
)


def seen(probe: ScriptedProbe, **visible: bool | None) -> ScriptedProbe:
    """Visibility says this of each workflow."""
    probe.visible = {name.replace("_", "-"): value for name, value in visible.items()}
    return probe


def all_open(count: int) -> dict[str, bool | None]:
    return {f"wf_{number}": True for number in range(1, count + 1)}


async def test_a_row_that_visibility_shows_as_open_is_left_without_a_description() -> None:
    store = MemoryStore(rows(4))
    probe = seen(scripted(closed()), wf_1=True, wf_2=False, wf_3=None, wf_4=True)

    report = await screened_pass(store, probe)

    assert sorted(probe.asked) == ["wf-2", "wf-3"]
    assert sorted(store.finished) == [2, 3]
    assert report.tally.left == {"open": 2}
    assert (report.tally.scanned, report.tally.screened) == (4, 2)
    assert accounted_for(report) == 4
    assert report.outcome is PassOutcome.OK


async def test_only_a_description_leads_to_a_write() -> None:
    store = MemoryStore(rows(4))

    report = await screened_pass(store, seen(scripted(Open()), wf_1=False, wf_2=False, wf_3=None))

    assert store.finished == {}
    assert (report.changed, report.tally.screened, report.tally.left) == (0, 0, {"open": 4})


async def test_the_rows_of_the_stretch_are_described_whatever_visibility_says() -> None:
    store, probe = MemoryStore(rows(200)), seen(scripted(closed()), **all_open(200))

    report = await screened_pass(
        store,
        probe,
        history=Remembering(half_a_minute_ago(50, 150)),
        full_sweep_interval=INTERVAL,
        batch_size=20,
    )

    assert sorted(store.finished) == list(range(51, 57)), "a sixteenth of a hundred"
    assert len(probe.asked) == 6
    assert len(probe.screened) == 194, "and all others"
    assert (report.tally.scanned, report.tally.screened) == (200, 194)


@pytest.mark.parametrize(
    ("swept", "interval", "why"),
    [
        (None, INTERVAL, "the first pass of all"),
        (A_MOMENT_AGO, timedelta(), "switched off"),
        (Swept(NOW - timedelta(hours=1), NOW), INTERVAL, "passes too rare"),
    ],
)
async def test_a_pass_that_describes_every_row_never_asks_visibility(
    swept: Swept | None, interval: timedelta, why: str
) -> None:
    probe = seen(scripted(Open()), **all_open(20))

    report = await screened_pass(
        MemoryStore(rows(20)),
        probe,
        history=Remembering(swept),
        full_sweep_interval=interval,
        batch_size=5,
    )

    assert probe.screened == [], why
    assert len(probe.asked) == 20
    assert report.tally.screened == 0


async def test_a_single_row_is_described_rather_than_listed() -> None:
    probe = seen(scripted(Open()), **all_open(3))

    await screened_pass(MemoryStore(rows(3)), probe, batch_size=2)

    assert probe.screened == ["wf-1", "wf-2"]
    assert probe.asked == ["wf-3"]


async def test_if_missing_rows_are_to_be_failed_the_breaker_sees_every_row() -> None:
    """As after a restore of Temporal's database, where visibility has a store of its own."""
    store, probe = MemoryStore(rows(600)), seen(scripted(Missing()), **all_open(600))

    report = await screened_pass(
        store, probe, FAIL, history=Remembering(A_MOMENT_AGO), full_sweep_interval=INTERVAL
    )

    assert (report.held_back, report.tally.written) == (600, {})
    assert probe.screened == []


async def test_an_overloaded_server_ends_the_pass() -> None:
    class Probe(ScriptedProbe):
        async def screen(
            self, rows: Sequence[RunRow], saving: float = 1.0
        ) -> Sequence[bool | None]:
            raise TemporalUnusable("overloaded")

    probe = Probe({})
    report = await screened_pass(MemoryStore(rows(4)), probe)

    assert (report.outcome, report.error) == (PassOutcome.ABORTED, "overloaded")
    assert probe.asked == []


async def test_the_report_counts_what_was_saved() -> None:
    probe = seen(scripted(Open()), **all_open(3))

    report = await screened_pass(MemoryStore(rows(4)), probe)

    assert report.as_json(StatusValues())["screened"] == 3


async def test_rows_past_the_limit_are_counted_by_the_next_pass() -> None:
    probe = seen(scripted(closed()), wf_2=True, wf_4=True)

    report = await screened_pass(MemoryStore(rows(4)), probe, max_changes=1)

    assert (report.tally.scanned, report.tally.screened, report.tally.left) == (2, 1, {"open": 1})


class TestWorthwhile:
    """It is not asked where that saves little."""

    class Ended(ScriptedProbe):
        """The workflows of the first rows have ended, and all others are running."""

        ended = 0

        async def observe(self, asked_row: RunRow) -> Observation:
            await super().observe(asked_row)
            return closed() if int(str(asked_row.id)) <= self.ended else Open()

        async def screen(
            self, rows: Sequence[RunRow], saving: float = 1.0
        ) -> Sequence[bool | None]:
            await super().screen(rows)
            return [int(str(row.id)) > self.ended for row in rows]

    async def test_a_backfill_asks_once(self) -> None:
        probe = self.Ended({})
        probe.ended = 200

        report = await screened_pass(MemoryStore(rows(200)), probe, batch_size=20, concurrency=1)

        assert len(probe.screened) == 20, "one page of ten"
        assert report.changed == 200

    async def test_it_is_asked_again_after_a_page_of_open_rows(self) -> None:
        probe = self.Ended({})
        probe.ended = 200

        report = await screened_pass(MemoryStore(rows(400)), probe, batch_size=20)

        assert report.changed == 200
        assert probe.screened[:20] == [f"wf-{number}" for number in range(1, 21)]
        assert probe.screened[-1] == "wf-400"
        assert len(probe.screened) == report.tally.screened + 20, "and the first page for nothing"
        assert report.tally.screened >= 100

    async def test_rows_without_a_workflow_id_do_not_count(self) -> None:
        every = [row(each, workflow_id=f"wf-{each}" * (each % 20 == 0)) for each in range(1, 201)]
        names = {f"wf_{each}": True for each in range(1, 201)}

        report = await screened_pass(
            MemoryStore(every), seen(scripted(Open()), **names), batch_size=100, concurrency=1
        )

        assert report.tally.screened == 10, "all of both pages"
        assert report.tally.left == {"open": 10, "no_workflow_id": 190}

    @pytest.mark.parametrize(("ended", "pages"), [(89, 5), (91, 1)])
    async def test_one_saved_in_ten_is_worth_it(self, ended: int, pages: int) -> None:
        class Probe(ScriptedProbe):
            async def screen(
                self, rows: Sequence[RunRow], saving: float = 1.0
            ) -> Sequence[bool | None]:
                self.screened += [row.workflow_id for row in rows]
                return [int(str(row.id)) % 100 >= ended for row in rows]

            async def observe(self, asked_row: RunRow) -> Observation:
                return closed()

        first_id_is_a_multiple = rows(599)[99:]
        probe = Probe({})

        await screened_pass(MemoryStore(first_id_is_a_multiple), probe, batch_size=100)

        assert len(probe.screened) == 100 * pages
