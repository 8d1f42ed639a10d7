from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from reconciler.core.stuck.condition import Condition, Diagnosis, Reason, StuckRow
from reconciler.core.stuck.since import as_stuck_row
from tests.support.factories import NOW, row
from tests.support.open_workflows import MINUTE, SECOND
from tests.support.stuck import stuck_row

KNOWN = stuck_row(run_id="run-1", reason=Reason.PAUSED, since=NOW - 5 * MINUTE)


def diagnosis(since: datetime | None = None, reason: Reason = Reason.PAUSED) -> Diagnosis:
    return Diagnosis(Condition(reason, "the text", since, "the cause"), "run-1", "Order")


def test_a_stuck_row_says_what_was_found_and_when() -> None:
    assert as_stuck_row(row(1), diagnosis(NOW - SECOND), None, NOW) == StuckRow(
        row_id=1,
        workflow_id="wf-1",
        run_id="run-1",
        workflow_type="Order",
        reason=Reason.PAUSED,
        text="the text",
        cause="the cause",
        since=NOW - SECOND,
        seen=NOW,
    )


@pytest.mark.parametrize(
    ("found", "known", "since"),
    [
        pytest.param(diagnosis(), None, NOW, id="first seen"),
        pytest.param(diagnosis(NOW + MINUTE), None, NOW, id="Temporal's clock is ahead"),
        pytest.param(diagnosis(), KNOWN, KNOWN.since, id="seen before"),
        pytest.param(diagnosis(NOW - MINUTE), KNOWN, KNOWN.since, id="the earlier one stays"),
        pytest.param(diagnosis(NOW - 9 * MINUTE), KNOWN, NOW - 9 * MINUTE, id="or is replaced"),
        pytest.param(diagnosis(reason=Reason.OVERDUE), KNOWN, NOW, id="another reason"),
        pytest.param(diagnosis(), replace(KNOWN, run_id="run-0"), NOW, id="another run"),
    ],
)
def test_a_row_is_stuck_since_the_earliest_time_known_of_its_run_and_reason(
    found: Diagnosis, known: StuckRow | None, since: datetime
) -> None:
    assert as_stuck_row(row(1), found, known, NOW).since == since
