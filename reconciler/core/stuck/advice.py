"""What to do about a row that is stuck or at risk, in a few words.

docs/stuck.md and docs/page.md say more.
"""

from __future__ import annotations

from reconciler.core.model import LeaveReason
from reconciler.core.stuck.condition import Reason

#: By reason; none for a healthy workflow.
STUCK_ADVICE = {
    Reason.PAUSED: "ask who is named, then temporal workflow unpause",
    Reason.WORKFLOW_TASK_FAILING: "roll the worker back, or fix and deploy it",
    Reason.NO_WORKER: "start the workers of that queue or version",
    Reason.ACTIVITY_PAUSED: "ask who is named, then temporal activity unpause",
    Reason.ACTIVITY_RETRYING: "repair what the failure names",
    Reason.ACTIVITY_SILENT: "look at the worker that is named",
    Reason.NEXUS_BLOCKED: "repair the service behind the endpoint that is named",
    Reason.WAITING_FOR_CHILD: "act on the child's reason",
    Reason.DELAYED: "nothing",
    Reason.OVERDUE: "look at Temporal itself",
}

#: By `LeaveReason`: what can no longer be known after the retention time, and what to do.
RISK_ADVICE = {
    LeaveReason.NEVER_STARTED.value: (
        "start it, or finish the row. Later, it is not known whether it ever ran."
    ),
    LeaveReason.DELETED.value: (
        "ask who deleted it, and finish the row. Later, it is not known that it ran."
    ),
    LeaveReason.EXPIRED.value: "its outcome is lost: finish the row.",
    LeaveReason.UNKNOWN.value: "repair what the text names. Later, its outcome is lost.",
}
