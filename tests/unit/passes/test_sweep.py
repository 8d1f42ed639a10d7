"""The sweep over a table: each row in each round, and no more of it than is due."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.errors import TemporalUnusable
from reconciler.core.model import Missing, Observation, Open, RowId, RunRow
from reconciler.core.ports import Reach
from reconciler.core.report.pass_report import PassOutcome
from reconciler.core.report.sweep import Rest, Round, Swept
from tests.support.factories import NOW, closed, row
from tests.support.fakes import MemoryStore, ScriptedProbe
from tests.support.passes.bench import FAIL, rows
from tests.support.passes.sweeping import (
    HALF_A_MINUTE,
    INTERVAL,
    Loop,
    Remembering,
    half_a_minute_ago,
)

SECOND = timedelta(seconds=1)


class Table(MemoryStore):
    """Records which rows are read, and how many are counted."""

    def __init__(self, rows: list[RunRow]) -> None:
        super().__init__(rows)
        self.read: list[RowId] = []
        self.counted = 0
        self.readable = True

    async def scan_running(self, after: RowId | None, until: RowId, limit: int) -> Any:
        found = await super().scan_running(after, until, limit)
        self.read += [each.id for each in found]
        return found

    async def reach(self, after: RowId | None, until: RowId, rows: int) -> Reach:
        reached = await super().reach(after, until, rows)
        self.counted += reached.rows
        return reached

    async def read_rest(self, recorded: Rest) -> Rest | None:
        return recorded if self.readable else None


def loop_over(count: int, swept: Swept | None = None, **options: Any) -> tuple[Loop, Table]:
    """Passes over open workflows; by default after one that described every row."""
    table, probe = Table(rows(count)), ScriptedProbe({}, Open())
    history = Remembering(swept or Swept(NOW, NOW, rows=count))
    return Loop(table, probe, history=history, **options), table


async def test_a_stretch_is_read_and_nothing_else() -> None:
    loop, table = loop_over(640)

    report = await loop.stretch()

    assert table.read == list(range(1, 41))
    assert report.tally.scanned == 40
    assert (report.more_left, report.outcome) == (False, PassOutcome.OK)
    assert report.swept == Swept(loop.now, NOW, Rest(40, 640), 40, 640)
    assert report.round == Round(640, 40, 600, began=True, ended=False, stretch_only=True)


async def test_the_last_stretch_ends_the_round() -> None:
    loop, table = loop_over(100, Swept(NOW, NOW - INTERVAL, Rest(90, 100), 90, 100))

    report = await loop.stretch()

    assert table.read == list(range(91, 101))
    assert report.swept is not None
    assert report.swept.rest is None
    assert report.round == Round(100, 100, 600, began=False, ended=True, stretch_only=True)


async def test_the_rate_limits_what_is_due_and_what_is_counted() -> None:
    loop, table = loop_over(20_000)

    report = await loop.stretch(sweep_rps=2)

    assert len(table.read) == 60
    assert table.counted <= 2 * 480 + 60 + 2, "not the whole table"
    assert report.round is not None
    assert report.round.seconds == 20_000 / 2, "from the last whole pass"


async def test_a_whole_pass_describes_the_stretch_and_screens_the_others() -> None:
    loop, table = loop_over(160, half_a_minute_ago(80, 160, 80))
    assert isinstance(loop.probe, ScriptedProbe)
    loop.now -= HALF_A_MINUTE

    report = await loop.pass_()

    assert table.read == list(range(1, 161))
    assert loop.probe.screened == [f"wf-{number}" for number in (*range(1, 81), *range(86, 161))]
    assert report.swept is not None
    assert report.swept.rest == Rest(85, 160)
    assert (report.swept.described, report.swept.rows) == (85, 160)
    assert report.round is not None
    assert not report.round.stretch_only


async def test_once_and_stretches_share_the_sweep() -> None:
    loop, _ = loop_over(640)
    assert isinstance(loop.probe, ScriptedProbe)
    loop.probe.visible = {f"wf-{number}": True for number in range(1, 641)}

    for number in range(16):
        await (loop.pass_(mode="once") if number % 2 else loop.stretch())

    assert loop.probe.asked == [f"wf-{number}" for number in range(1, 641)]
    assert loop.history.swept is not None
    assert loop.history.swept.rest is None


async def test_rows_inserted_during_a_round_are_for_the_next() -> None:
    loop, table = loop_over(64)
    await loop.stretch()
    table.running |= {number: row(number) for number in range(65, 1000)}
    for _ in range(15):
        await loop.stretch()

    assert table.read == list(range(1, 65))

    for _ in range(16):
        await loop.stretch()
    assert table.read[64:] == list(range(1, 1000))


async def test_a_table_that_grows_tenfold_within_the_round_is_described_in_time() -> None:
    loop, table = loop_over(0)
    table.running = {number: row(number) for number in range(0, 6400, 10)}
    for _ in range(8):
        await loop.stretch()
    table.running |= {number: row(number) for number in range(6391)}
    read = len(table.read)
    counts = [(await loop.stretch()).tally.scanned for _ in range(8)]

    assert read == 320
    assert set(table.read[:320]) | set(range(3191, 6391)) == set(table.read)
    assert max(counts) <= min(counts) + 1, "no burst"


async def test_if_the_end_of_the_round_is_deleted_it_ends_before() -> None:
    loop, table = loop_over(64)
    await loop.stretch()
    for number in range(4, 65):
        del table.running[number]

    report = await loop.stretch()

    assert table.read == [1, 2, 3, 4]
    assert report.round == Round(4, 4, 600, began=False, ended=True, stretch_only=True)


async def test_if_all_rows_after_the_stretch_are_deleted_a_whole_pass_reads_the_others() -> None:
    loop, table = loop_over(9, Swept(NOW, NOW, Rest(100, 200), 7))

    report = await loop.pass_()

    assert table.read == list(range(1, 10))
    assert report.swept is not None
    assert (report.swept.rest, report.outcome) == (None, PassOutcome.OK)


@pytest.mark.parametrize("swept", [None, half_a_minute_ago(5, 9)])
@pytest.mark.parametrize("only", [True, False])
async def test_an_empty_table_has_empty_rounds(swept: Swept | None, only: bool) -> None:
    loop, table = loop_over(0)
    loop.history.swept = swept

    reports = [await loop.pass_(stretch_only=only) for _ in range(3)]

    assert table.read == []
    for report in reports:
        assert report.round is not None
        assert (report.round.rows - report.round.described, report.round.ended) == (0, True)


async def test_fewer_rows_than_passes_are_described_once_in_a_round() -> None:
    loop, table = loop_over(3)
    for _ in range(16):
        await loop.stretch()

    assert table.read == [1, 2, 3]


async def test_without_a_known_pass_before_the_stretches_begin_a_round() -> None:
    loop, table = loop_over(640)
    loop.history.swept = None

    first, second = await loop.stretch(), await loop.stretch()

    assert (first.tally.scanned, second.tally.scanned) == (0, 40)
    assert table.read == list(range(1, 41))


async def test_keys_that_the_table_no_longer_has_begin_a_new_round() -> None:
    loop, table = loop_over(640, Swept(NOW, NOW - INTERVAL / 2, Rest(320, 640), 320, 640))
    table.readable = False

    report = await loop.stretch()

    assert table.read == list(range(1, 41)), "as much as in any other pass"
    assert report.round == Round(640, 40, 600, began=True, ended=False, stretch_only=True)


async def test_without_an_interval_every_row_is_read_and_described() -> None:
    loop, table = loop_over(64)
    report = await loop.pass_(full_sweep_interval=timedelta())

    assert table.read == list(range(1, 65))
    assert report.round == Round(64, 64, 0, began=True, ended=True)


async def test_rare_passes_describe_every_row() -> None:
    """As of a cron job, in whole passes and in stretches."""
    loop, table = loop_over(64)
    await loop.pass_(timedelta(days=1))
    report = await loop.stretch(timedelta(days=1))

    assert table.read == 2 * list(range(1, 65))
    assert report.round == Round(64, 64, 600, began=True, ended=True, stretch_only=True)


async def test_a_clock_set_back_delays_the_stretch_by_one_pass() -> None:
    loop, table = loop_over(640)
    await loop.stretch()
    await loop.stretch(-timedelta(hours=1))
    await loop.stretch()

    assert table.read == list(range(1, 78)), "a sixteenth of the rest"


async def test_missing_rows_of_a_stretch_are_failed_unless_most_of_it_is_missing() -> None:
    loop, table = loop_over(640, rules=FAIL)
    assert isinstance(loop.probe, ScriptedProbe)
    loop.probe.answers = {f"wf-{number}": Missing() for number in (3, 7, *range(41, 81))}

    assert (await loop.stretch()).changed == 2
    assert (await loop.stretch()).held_back == 40
    assert len(table.read) == 80 + 40, "and again before they are failed"
    assert (await loop.stretch()).swept is not None


@pytest.mark.parametrize("only", [True, False])
async def test_a_pass_that_ends_at_a_limit_has_not_swept(only: bool) -> None:
    loop, _ = loop_over(640)
    assert isinstance(loop.probe, ScriptedProbe)
    loop.probe.default = closed()
    before = loop.history.swept

    report = await loop.pass_(stretch_only=only, max_changes=10)

    assert (report.changed, report.more_left) == (10, True)
    assert (loop.history.swept, report.round) == (before, None)


async def test_a_backfill_describes_only_what_may_have_ended_and_leaves_the_sweep_alone() -> None:
    loop, _ = loop_over(64)
    assert isinstance(loop.probe, ScriptedProbe)
    loop.probe.visible = {f"wf-{number}": True for number in range(1, 65)}
    before = loop.history.swept

    report = await loop.pass_(mode="backfill")

    assert loop.probe.asked == []
    assert (report.swept, report.round) == (before, None)


class Moment(ScriptedProbe):
    """Records when it was asked about which row; may be unreachable."""

    def __init__(self) -> None:
        super().__init__({}, Open())
        self.now = NOW
        self.away = False
        self.described: dict[RowId, list[datetime]] = {}

    async def observe(self, asked_row: RunRow) -> Observation:
        if self.away:
            raise TemporalUnusable("away")
        self.described.setdefault(asked_row.id, []).append(self.now)
        return Open()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["stretch", "stretch", "stretch", "whole", "away"]),
        st.integers(20, 60),
        st.lists(st.integers(0, 300), max_size=20),
        st.lists(st.integers(0, 300), max_size=20),
    ),
    min_size=60,
    max_size=60,
)


@given(STEPS, st.sets(st.integers(0, 300), min_size=1, max_size=60))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_a_row_that_stays_is_described_once_per_round_whatever_else_happens(
    steps: list[tuple[str, int, list[int], list[int]]], stay: set[int]
) -> None:
    """A round takes the interval at most, with room for one pass that fails and one that is late.

    So a row waits two rounds at most, even if it was first in one and is last in the next.
    """
    table, probe = Table([row(number) for number in stay]), Moment()
    loop = Loop(table, probe)
    await loop.pass_()
    start = dict.fromkeys(stay, loop.now)
    failed = False
    complete, fastest = loop.now, 6
    for kind, seconds, gone, new in steps:
        table.running |= {number: row(number) for number in new}
        for number in set(gone) - stay:
            table.running.pop(number, None)
        probe.now, probe.away = loop.now + seconds * SECOND, kind == "away" and not failed
        failed = probe.away
        read = len(table.read)
        only = kind != "whole"
        report = await loop.pass_(seconds * SECOND, stretch_only=only, sweep_rps=fastest)
        if only:
            since = (loop.now - complete).total_seconds()
            assert len(table.read) - read <= fastest * since
        complete = complete if report.error else loop.now

    for number, begun in start.items():
        times = [begun, *probe.described.get(number, ()), loop.now]
        assert max(after - last for last, after in pairwise(times)) <= 2 * INTERVAL
