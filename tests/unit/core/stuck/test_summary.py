"""Which stuck rows are taken, and how they are summed up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from reconciler.core.stuck import summary
from reconciler.core.stuck.condition import Reason
from reconciler.core.stuck.summary import STUCK, Selection, Summary, summary_as_json
from tests.support.factories import NOW
from tests.support.stuck import HOUR, stuck_for


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        pytest.param({}, True, id="no filter"),
        pytest.param({"reasons": frozenset([Reason.PAUSED])}, False, id="another reason"),
        pytest.param(
            {"reasons": frozenset([Reason.PAUSED, Reason.ACTIVITY_RETRYING])},
            True,
            id="one of two reasons",
        ),
        pytest.param({"workflow_type": "Order"}, True, id="its type"),
        pytest.param({"workflow_type": "Ord"}, False, id="another type"),
        pytest.param({"older_than": 2 * HOUR}, True, id="just old enough"),
        pytest.param({"older_than": 2 * HOUR + timedelta(seconds=1)}, False, id="too young"),
    ],
)
def test_selection(fields: dict[str, Any], taken: bool) -> None:
    assert Selection(**fields).takes(stuck_for(2), NOW) is taken


def test_groups_share_reason_type_and_cause() -> None:
    summed = Summary()
    for row in (
        stuck_for(1, reason=Reason.PAUSED, cause=""),
        stuck_for(2),
        stuck_for(5, cause="other"),
        stuck_for(4),
        stuck_for(6, workflow_type="Refund"),
    ):
        summed.add(row)

    assert [(each.workflow_type, each.text, each.rows) for each in summed.groups] == [
        ("Order", "charge: card N declined", 2),
        ("Refund", "charge: card N declined", 1),
        ("Order", "other", 1),
        ("Order", "", 1),
    ]
    oldest = summed.groups[0]
    assert (oldest.oldest_since, oldest.oldest_id) == (NOW - 4 * HOUR, stuck_for(4).workflow_id)
    assert oldest.oldest_text == stuck_for(4).text
    assert summed.rows == {Reason.ACTIVITY_RETRYING: 4, Reason.PAUSED: 1}


def test_memory_is_bounded_if_all_causes_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "MAX_GROUPS", 3)
    summed = Summary()
    for number in range(100):
        summed.add(stuck_for(cause=f"cause {number}"))

    assert (summed.groups[0].text, summed.groups[0].rows) == ("", 97)
    assert len(summed.groups) == 4


def test_every_reason_is_in_the_json() -> None:
    printed = summary_as_json(None, {Reason.PAUSED: 2}, [])

    assert printed["checked_at"] is None
    assert printed["rows"] == dict.fromkeys(STUCK, 0) | {"Paused": 2}
    assert "Waiting" not in printed["rows"]
