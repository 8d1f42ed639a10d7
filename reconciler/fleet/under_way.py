"""What the ranges that are worked on have counted so far, and what keeps work from being done.

The workflow itself knows only of ranges that have ended. Temporal knows the heartbeats.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowExecutionDescription

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.core.report.tally import Tally
from reconciler.core.text import one_line
from reconciler.fleet.tasks import RANGE
from reconciler.postgres.connection.clock import host_time
from reconciler.postgres.journal.checkpoint import restore


@dataclass(frozen=True, slots=True)
class UnderWay:
    """The activities of the workflow at this moment."""

    #: Of each range that has sent a heartbeat.
    tallies: Sequence[Tally]
    #: Why the last attempts of others failed, or were refused.
    failures: Sequence[str]


def find_under_way(described: WorkflowExecutionDescription) -> UnderWay:
    """What Temporal says about the activities that have not ended."""
    pending = described.raw_description.pending_activities
    tallies = [_tally(each) for each in pending if each.activity_type.name == RANGE]
    failures = [
        one_line(each.last_failure.message, 300)
        for each in pending
        if each.HasField("last_failure")
    ]
    return UnderWay([each for each in tallies if each is not None], failures)


def _tally(activity: PendingActivityInfo) -> Tally | None:
    """None before its first heartbeat, or if another version has sent it."""
    report = PassReport("", PassRequest(""), host_time())
    try:
        (payload,) = activity.heartbeat_details.payloads
        restore(report, json.loads(payload.data)["cursor"], lambda key: key)
    except (DatabaseUnfit, LookupError, TypeError, ValueError):
        return None
    return report.tally
