"""Why a pass left rows, in words."""

from reconciler.core.model import LeaveReason

WHY_LEFT = {
    LeaveReason.OPEN: "still open in Temporal",
    LeaveReason.NO_WORKFLOW_ID: "without a workflow id: not started yet, or not Temporal's",
    LeaveReason.COMPLETED: "completed in Temporal; RECONCILER_STATUSES__COMPLETED has no value",
    LeaveReason.TOO_YOUNG: (
        "younger than RECONCILER_GRACE, or just changed: about to start, or to get its run id"
    ),
    LeaveReason.NEVER_STARTED: "not in Temporal, though within its retention",
    LeaveReason.DELETED: "was in Temporal once, and is gone within its retention",
    LeaveReason.EXPIRED: "not in Temporal, and older than its retention",
    LeaveReason.UNKNOWN: "could not be judged, see the log",
}
