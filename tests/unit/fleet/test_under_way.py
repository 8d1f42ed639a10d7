"""What is known of ranges that have not ended: their heartbeats, and their failures."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowExecutionDescription

from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.tally import Tally
from reconciler.fleet.tasks import RANGE
from reconciler.fleet.under_way import UnderWay, find_under_way
from reconciler.postgres.journal.checkpoint import to_json


def activity(details: object = None, failure: str = "", kind: str = RANGE) -> PendingActivityInfo:
    pending = PendingActivityInfo()
    pending.activity_type.name = kind
    if details is not None:
        pending.heartbeat_details.payloads.append(Payload(data=json.dumps(details).encode()))
    if failure:
        pending.last_failure.message = failure
    return pending


def look(*pending: PendingActivityInfo) -> UnderWay:
    raw: Any = SimpleNamespace(pending_activities=pending)
    return find_under_way(
        cast("WorkflowExecutionDescription", SimpleNamespace(raw_description=raw))
    )


def test_a_range_counts_what_its_last_heartbeat_says() -> None:
    aside = Span(None, "key 3", first=Tally(scanned=3))
    cursor = to_json(Progress(Span("key 3", "key 9"), [aside]), Tally(scanned=4))

    found = look(activity({"cursor": cursor}), activity())

    assert [tally.scanned for tally in found.tallies] == [7]


@pytest.mark.parametrize("details", [{}, {"cursor": {}}, {"cursor": {"rest": 3}}, [], "?", 3])
def test_a_heartbeat_of_another_version_is_not_counted(details: object) -> None:
    assert look(activity(details)) == UnderWay([], [])


def test_failures_of_all_activities_are_one_line_each() -> None:
    found = look(activity(failure="down\nfor long"), activity(failure="refused", kind="cut"))

    assert found.failures == ["down for long", "refused"]
