"""How far a pass has come, through JSON and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.model import Finish, Leave, LeaveReason, RowId
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassRequest
from reconciler.core.report.tally import Tally
from reconciler.postgres.journal.checkpoint import restore, to_json
from tests.support.factories import NOW, finish, row

UUIDS = [UUID(int=number) for number in (1, 2, 3, 4)]


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def left(id_: RowId, reason: LeaveReason) -> Leave:
    return Leave(row(id_, age=timedelta(hours=2)), reason)


def span(after: RowId | None, until: RowId, *leaves: Leave, failing: Sequence[Finish] = ()) -> Span:
    made = Span(after, until)
    made.first.add_left(leaves)
    made.first.add_set_aside(failing)
    made.add_failing(failing)
    return made


def restored(
    progress: Progress, done: Tally | None = None, read_id: Callable[[Any], RowId] = int
) -> PassReport:
    report = PassReport("p-1", PassRequest("backfill", asked={}), NOW)
    restore(report, through_json(to_json(progress, done or Tally())), read_id)
    return report


@pytest.mark.parametrize(
    ("ids", "read_id"),
    [
        pytest.param([1, 2, 3, 2**63 - 1], int, id="numbers"),
        pytest.param(["1", "tenant/2", "ü", "null"], str, id="texts"),
        pytest.param(UUIDS, UUID, id="uuids"),
    ],
)
def test_what_is_left_to_do_comes_back_as_it_was(
    ids: list[RowId], read_id: Callable[[Any], RowId]
) -> None:
    first, second, third, last = ids
    failing = finish(row(second), missing=LeaveReason.EXPIRED)
    one = span(first, second, left(third, LeaveReason.OPEN), failing=[failing])
    one.second.written["failed"] = 1
    other = span(None, first)
    other.first.lost_races = 1
    progress = Progress(Span(third, last), [other, one], rechecking=True)

    read = restored(progress, read_id=read_id).progress

    assert read == progress
    assert read.rest is not None
    assert type(read.rest.until) is type(last)
    assert read.to_recheck[1].oldest_failing == NOW - timedelta(hours=1)


@pytest.mark.parametrize("progress", [Progress(), Progress(Span(None, 7)), Progress(Span(0, 7))])
def test_no_rest_and_no_beginning_come_back_as_they_were(progress: Progress) -> None:
    assert restored(progress).progress == progress


def test_a_reason_comes_back_as_a_reason() -> None:
    read = restored(Progress(None, [span(None, 1, left(1, LeaveReason.UNKNOWN))])).progress

    assert read is not None
    assert [type(reason) for reason in read.to_recheck[0].first.left] == [LeaveReason]


def a_tally() -> Tally:
    tally = Tally(scanned=5, screened=1)
    tally.add_left([left(3, LeaveReason.OPEN), left(4, LeaveReason.UNKNOWN)])
    tally.add_set_aside([finish(row(5), missing=LeaveReason.DELETED)])
    tally.add_written([finish(row(1)), finish(row(2))], written={1})
    return tally


def test_tallies_come_back_as_they_were() -> None:
    assert restored(Progress(), a_tally()).done == a_tally()


def test_what_was_written_is_what_the_journal_says() -> None:
    """Killed after the write of three more rows, and before it was recorded."""
    after = restored(Progress(Span(None, 9)), a_tally())

    after.correct({"completed": 2, "failed": 2})

    assert after.tally.written == {"completed": 2, "failed": 2}
    assert after.tally.scanned == 5 + 3
    assert after.progress is not None
    assert after.progress.unrecorded == 3


@pytest.mark.parametrize(
    "change",
    [
        {"rest": {"after": None, "until": "not a number"}},
        {"to_recheck": [{"until": 5}]},
        {"done": {"left": {"waiting_for_callback": 1}}},
        {"done": None},
    ],
    ids=["key of another type", "fields that are missing", "a reason of later", "no counts"],
)
def test_what_another_version_has_recorded_is_refused_in_one_line(change: Any) -> None:
    begun = PassReport("p-1", PassRequest("backfill"), started_at=NOW)
    cursor = to_json(Progress(Span(None, 5)), Tally())

    with pytest.raises(DatabaseUnfit, match=r"cannot resume pass p-1: .*use --restart"):
        restore(begun, {**cursor, **change}, int)
