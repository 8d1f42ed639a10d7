"""How far a pass has come, through JSON and back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.model import Leave, LeaveReason, RowId
from reconciler.core.progress import Progress, Span
from reconciler.core.report import PassReport
from reconciler.core.verdict import StatusValues
from reconciler.core.window import Spread
from reconciler.postgres.journal.checkpoint import from_json, restore, restore_counts, to_json
from tests.support.factories import NOW, finish, row

UUIDS = [UUID(int=number) for number in (1, 2, 3, 4)]


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def left(id_: RowId, reason: LeaveReason) -> Leave:
    return Leave(row(id_, age=timedelta(hours=2)), reason)


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
    span = Span.of(first, second, [failing, left(third, LeaveReason.OPEN)])
    lost = Span.of(None, first, [finish(row(first))])
    progress = Progress(Span(third, last), [lost, span], looks_again=True)

    read = from_json(through_json(to_json(progress)), read_id)

    assert read == progress
    assert read.rest is not None
    assert type(read.rest.until) is type(last)
    assert read.again[0].lost == 1
    assert read.again[1].left == {LeaveReason.OPEN: 1, LeaveReason.EXPIRED: 1}
    assert read.again[1].failing == {LeaveReason.EXPIRED: 1}
    assert read.again[1].oldest_failing == NOW - timedelta(hours=1)


@pytest.mark.parametrize("progress", [Progress(), Progress(Span(None, 7)), Progress(Span(0, 7))])
def test_no_rest_and_no_beginning_come_back_as_they_were(progress: Progress) -> None:
    assert from_json(through_json(to_json(progress)), int) == progress


def test_a_reason_comes_back_as_a_reason() -> None:
    span = Span.of(None, 1, [left(1, LeaveReason.UNKNOWN)])

    (read,) = from_json(through_json(to_json(Progress(None, [span]))), int).again

    assert [type(reason) for reason in read.left] == [LeaveReason]


def a_report() -> PassReport:
    report = PassReport("p-1", "backfill", dry_run=False, started_at=NOW, duration_seconds=12.5)
    leaves = [left(3, LeaveReason.OPEN), left(4, LeaveReason.UNKNOWN)]
    missing = finish(row(5), missing=LeaveReason.DELETED)
    report.add_scanned([finish(row(1)), finish(row(2)), *leaves, missing])
    report.add_left(leaves)
    report.add_set_aside([missing])
    report.add_written([finish(row(1)), finish(row(2))], written={1})
    report.held_back = 3
    report.rpcs = Counter(describe=5, history=1, list=2)
    report.screened = 1
    report.missing[LeaveReason.EXPIRED] = Spread(2, NOW - timedelta(days=3), NOW)
    return report


def restored(report: PassReport, written: dict[str, int]) -> PassReport:
    fresh = PassReport("p-1", "backfill", dry_run=False, started_at=NOW, progress=Progress())
    restore_counts(fresh, through_json(report.as_json(StatusValues())), written)
    return fresh


def test_counts_come_back_from_the_json_of_a_report() -> None:
    before = a_report()

    after = restored(before, {"completed": 1})

    assert after.as_json(StatusValues()) == before.as_json(StatusValues())
    assert +after.left == before.left
    assert after.missing == before.missing
    assert after.duration_seconds == 12.5
    assert after.rpcs == before.rpcs


def test_what_was_written_is_what_the_journal_says() -> None:
    """Killed after the write of three more rows, and before the note of it."""
    after = restored(a_report(), {"completed": 2, "failed": 2})

    assert after.written == {"completed": 2, "failed": 2}
    assert after.scanned == 5
    assert after.progress is not None
    assert after.progress.unnoted == 3


def test_counts_go_on_from_there() -> None:
    after = restored(a_report(), {"completed": 1})
    after.add_left([left(6, LeaveReason.OPEN)])
    after.add_scanned([left(7, LeaveReason.EXPIRED)])

    assert after.left[LeaveReason.OPEN] == 2
    assert after.missing[LeaveReason.EXPIRED].rows == 3


@pytest.mark.parametrize(
    "change",
    [
        {"rest": {"after": None, "until": "not a number"}},
        {"again": [{"until": 5}]},
        {"counts": {"left": {"waiting_for_callback": 1}}},
        {"counts": None},
    ],
    ids=["key of another type", "fields that are missing", "a reason of later", "no counts"],
)
def test_what_another_version_has_noted_down_is_refused_in_one_line(change: Any) -> None:
    begun = PassReport("p-1", "backfill", dry_run=False, started_at=NOW)
    cursor = {**to_json(Progress(Span(None, 5))), "counts": begun.as_json(StatusValues())}

    with pytest.raises(DatabaseUnfit, match=r"cannot resume pass p-1: .*use --restart"):
        restore(begun, {**cursor, **change}, int, [])
