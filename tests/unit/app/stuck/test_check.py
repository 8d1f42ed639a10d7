"""`stuck --check`: what is judged, what is listed, and what is not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from reconciler.app.stuck import check
from reconciler.app.stuck.check import Check, Listed, Longest, Spool
from reconciler.core.errors import ConfigurationError
from reconciler.core.model import Leave, LeaveReason, RowId, Verdict
from reconciler.core.stuck.condition import Reason, StuckRow
from reconciler.core.stuck.summary import Selection
from tests.support.factories import NOW, finish, row
from tests.support.passes.watching import FakeDiagnosing, condition
from tests.support.stuck import HOUR, stuck_for


def still_open(id_: int, evidence: object, **fields: Any) -> Leave:
    return Leave(row(id_), LeaveReason.OPEN, evidence=evidence, **fields)


async def judged(verdicts: Sequence[Verdict], listed: Listed, selection: Selection) -> Check:
    async def known(ids: Sequence[RowId]) -> Mapping[RowId, StuckRow]:
        paused = stuck_for(2, reason=Reason.PAUSED)
        return {id_: paused for id_ in ids if id_ == 3}

    checking = Check(FakeDiagnosing(), selection, listed, lambda: NOW, known)
    await checking.on_start(cast("Any", None))
    await checking.on_page(cast("Any", None), verdicts)
    return checking


VERDICTS: list[Verdict] = [
    still_open(1, condition(Reason.WAITING)),
    still_open(2, condition(Reason.NO_WORKER)),
    still_open(3, condition(Reason.PAUSED)),
    still_open(4, "nothing that could be said"),
    still_open(5, None),
    finish(row(6)),
    Leave(row(7), LeaveReason.UNKNOWN),
]


async def rows_of(listed: Listed) -> list[StuckRow]:
    return [each async for page in listed.pages() for each in page]


async def test_open_rows_are_judged_and_unhealthy_ones_kept() -> None:
    listed = Longest(9)

    checking = await judged(VERDICTS, listed, Selection())

    assert checking.summary.rows == {Reason.NO_WORKER: 1, Reason.PAUSED: 1}
    assert checking.undecided == 2
    assert [(each.row_id, each.since) for each in await rows_of(listed)] == [
        (3, NOW - 2 * HOUR),  # as recorded
        (2, NOW),
    ]


async def test_only_rows_that_are_asked_for_are_counted() -> None:
    listed = Longest(9)

    checking = await judged(VERDICTS, listed, Selection(older_than=HOUR))

    assert checking.summary.rows == {Reason.PAUSED: 1}
    assert [each.row_id for each in await rows_of(listed)] == [3]


async def test_of_many_rows_the_longest_stuck_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "PAGE", 2)
    listed = Longest(3)
    for number in (5, 1, 9, 3, 8, 2, 7, 9, 4, 6, 1, 2):
        listed.add(stuck_for(number))

    assert [each.row_id for each in await rows_of(listed)] == [9, 9, 8]
    assert len(listed._rows) <= 8


async def test_all_rows_come_back_from_the_spool_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "PAGE", 4)
    monkeypatch.setattr(check, "IN_MEMORY", 100)
    listed = Spool()
    given = [stuck_for(number, workflow_id="\udcff\n") for number in range(10)]
    for each in given:
        listed.add(each)

    assert await rows_of(listed) == given
    listed.close()


async def test_no_room_for_all_rows_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Spool()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pickle.dump", full)

    with pytest.raises(ConfigurationError, match="No space left on device: set TMPDIR"):
        listed.add(stuck_for())
    listed.close()
