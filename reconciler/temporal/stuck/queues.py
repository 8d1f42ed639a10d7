"""From the description of a task queue to who polls it."""

from __future__ import annotations

from temporalio.api.enums.v1 import TaskQueueType, WorkerVersioningMode
from temporalio.api.taskqueue.v1 import PollerInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueResponse

from reconciler.core.stuck.workflow import Poller, Queue, QueueType
from reconciler.temporal.stuck.values import moment, span

#: By our names.
TYPES = {
    QueueType.WORKFLOW: TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    QueueType.ACTIVITY: TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}
_VERSIONED = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED


def as_queue(described: DescribeTaskQueueResponse) -> Queue:
    """The state of a queue: the pollers and the backlog of all its worker versions."""
    has_stats = described.HasField("stats")
    return Queue(
        tuple(_poller(each) for each in described.pollers),
        described.stats.approximate_backlog_count if has_stats else None,
        span(described.stats, "approximate_backlog_age") if has_stats else None,
    )


def _poller(given: PollerInfo) -> Poller:
    options, version = given.deployment_options, None
    if options.worker_versioning_mode == _VERSIONED:
        version = f"{options.deployment_name}:{options.build_id}"
    return Poller(given.identity, moment(given, "last_access_time"), version)
