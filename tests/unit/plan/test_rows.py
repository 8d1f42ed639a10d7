"""A verdict as a line of a plan, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model import (
    MISSING_REASONS,
    Finish,
    Leave,
    LeaveReason,
    OldValues,
    RowId,
    Verdict,
)
from reconciler.core.text import one_line
from reconciler.plan.format import MAX_LINE, from_line, to_line
from reconciler.plan.rows import SHOWN, row_from_json, row_to_json
from tests.support.factories import finish, row

KEY = UUID("3f1e6e2a-8a53-4b53-9e55-5a1d2b0c9f10")
OLD = OldValues("running", None, None)


def there_and_back(verdict: Verdict, old: OldValues | None = OLD) -> Verdict:
    def read_id(value: int | str) -> RowId:
        kind = type(verdict.outcome.row.id if isinstance(verdict, Finish) else verdict.row.id)
        assert isinstance(value, str if kind is UUID else kind)
        return UUID(str(value)) if kind is UUID else value

    return row_from_json(from_line(to_line(row_to_json(verdict, old))), read_id)


@pytest.mark.parametrize("id_", [7, "tenant/1", "7", KEY], ids=["int", "text", "digits", "uuid"])
@pytest.mark.parametrize(
    "verdict",
    [
        lambda of: finish(of, workflow_type="Provision"),
        lambda of: finish(of, status="failed", error_message="boom", temporal_status="FAILED"),
        *(
            lambda of, reason=reason: finish(
                of,
                missing=reason,
                completed_at=None,
                final_run_id=None,
                temporal_status="NOT_FOUND",
            )
            for reason in MISSING_REASONS
        ),
        *(lambda of, reason=reason: Leave(of, reason, "why") for reason in LeaveReason),
        lambda of: Leave(of, LeaveReason.OPEN),
    ],
)
def test_every_verdict_on_every_kind_of_row_comes_back_as_it_was(verdict: Any, id_: RowId) -> None:
    for of in (row(id_), row(id_, run_id=None, age=None), row(id_, namespace="blue")):
        assert there_and_back(verdict(of)) == verdict(of)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC),
        datetime(1, 1, 2, tzinfo=UTC),
        datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    ],
)
def test_times_come_back_to_the_microsecond(moment: datetime) -> None:
    verdict = finish(row(1, created_at=moment), completed_at=moment)

    assert there_and_back(verdict) == verdict


@given(st.text(), st.text(max_size=50), st.text(max_size=50))
def test_every_text_that_is_to_be_written_comes_back_as_it_was(
    message: str, workflow_id: str, run_id: str
) -> None:
    of = row(1, workflow_id=workflow_id, run_id=run_id)
    verdict = finish(of, status="failed", error_message=one_line(message, 2000))

    assert there_and_back(verdict) == verdict


@given(st.text(st.characters(), max_size=50))
def test_a_row_is_one_line_whatever_is_in_it(text: str) -> None:
    old = OldValues("running", None, text)
    line = to_line(row_to_json(Leave(row(1, workflow_id=text), LeaveReason.OPEN, text), old))

    assert line.index(b"\n") == len(line) - 1


def test_a_row_to_be_finished_says_what_will_be_written_and_why() -> None:
    old = OldValues("running", datetime(2026, 1, 1, tzinfo=UTC), "left over")
    verdict = finish(row(1), status="failed", error_message="boom", workflow_type="Provision")

    assert row_to_json(verdict, old) == {
        "id": 1,
        "workflow_id": "wf-1",
        "run_id": "run-1",
        "created_at": "2026-11-23T11:00:00+00:00",
        "verdict": "finish",
        "reason": None,
        "detail": None,
        "old": {
            "status": "running",
            "completed_at": "2026-01-01T00:00:00+00:00",
            "error_message": "left over",
        },
        "new": {
            "status": "failed",
            "completed_at": "2026-11-23T11:59:58.123456+00:00",
            "error_message": "boom",
        },
        "evidence": {
            "temporal_status": "COMPLETED",
            "final_run_id": "run-last",
            "close_time": "2026-11-23T11:59:58.123456+00:00",
            "workflow_type": "Provision",
        },
    }


def test_a_row_to_be_left_says_why() -> None:
    line = row_to_json(Leave(row(1), LeaveReason.EXPIRED, "no such workflow"), None)

    assert (line["verdict"], line["reason"], line["detail"]) == (
        "leave",
        "expired",
        "no such workflow",
    )
    assert (line["old"], line["new"], line["evidence"]) == (None, None, None)


def test_texts_are_legible() -> None:
    line = to_line(row_to_json(finish(row(1), error_message="größer als 100 €"), OLD))

    assert "größer als 100 €" in line.decode()


def test_a_text_without_a_limit_is_cut_unless_it_will_be_written() -> None:
    endless = "x" * MAX_LINE
    of = row(1, workflow_id=endless, run_id=endless)
    old = OldValues(endless, None, endless)

    assert len(to_line(row_to_json(Leave(of, LeaveReason.UNKNOWN, endless), old))) < 6 * SHOWN
    verdict = finish(row(1, workflow_id=endless[:5000]), error_message=endless[:1_000_000])
    assert there_and_back(verdict, old) == verdict


def test_the_longest_error_message_that_settings_allow_fits_in_a_line() -> None:
    for widest in ("😀", '"', "\\"):
        assert len(to_line(row_to_json(finish(row(1), error_message=widest * 10**6), OLD))) < (
            MAX_LINE
        )


GOOD = row_to_json(finish(row(1)), OLD)
LEFT = row_to_json(Leave(row(1), LeaveReason.OPEN, "RUNNING"), OLD)


@pytest.mark.parametrize(
    "odd",
    [
        {**GOOD, "id": True},
        {**GOOD, "id": 1.0},
        {**GOOD, "id": None},
        {**GOOD, "workflow_id": None},
        {**GOOD, "run_id": 1},
        {**GOOD, "created_at": "yesterday"},
        {**GOOD, "created_at": "2026-11-23T11:00:00"},
        {**GOOD, "created_at": 1},
        {**GOOD, "verdict": "end"},
        {**GOOD, "verdict": None},
        {**GOOD, "reason": "open"},
        {**GOOD, "reason": "no such reason"},
        {**GOOD, "detail": 1},
        {**GOOD, "old": "running"},
        {**GOOD, "new": None},
        {**GOOD, "evidence": None},
        {**GOOD, "new": {**GOOD["new"], "status": None}},
        {**GOOD, "new": {**GOOD["new"], "completed_at": "2026-11-23"}},
        {**GOOD, "new": {**GOOD["new"], "error_message": []}},
        {**GOOD, "new": {"status": "failed"}},
        {**GOOD, "evidence": {**GOOD["evidence"], "temporal_status": None}},
        {**GOOD, "evidence": {**GOOD["evidence"], "final_run_id": 1}},
        {**GOOD, "evidence": {**GOOD["evidence"], "workflow_type": None}},
        {**LEFT, "reason": None},
        {**LEFT, "new": GOOD["new"]},
        {**LEFT, "evidence": GOOD["evidence"]},
        *({name: GOOD[name] for name in GOOD if name != absent} for absent in GOOD),
    ],
    ids=str,
)
def test_what_is_not_a_row_is_refused(odd: Any) -> None:
    with pytest.raises((ValueError, KeyError)):
        row_from_json(odd, lambda id_: id_)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"[]", "not an object"),
        (b"1", "not an object"),
        (b"\xff", "can't decode"),
        (b'{"a":' * 100_000, "nested too deeply"),
    ],
    ids=["nothing", "half", "list", "number", "not text", "nested too deeply"],
)
def test_what_is_not_an_object_is_refused(line: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        from_line(line)
