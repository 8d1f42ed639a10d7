"""The dynamic configuration of the tests' Temporal dev server, as KEY=VALUE."""

from __future__ import annotations

#: After half a second the server answers preemptable callers, like us, that a workflow is busy.
NEVER_BUSY = 'history.cacheNonUserContextLockTimeout="1m"'
#: What the dev server needs so that every case can be made in seconds.
DYNAMIC_CONFIG = (
    'system.namespaceMinRetentionLocal="1s"',
    'history.retentionTimerJitterDuration="1s"',
    'history.workflowIdReuseMinimalInterval="0s"',
    "frontend.WorkflowPauseEnabled=true",
    # A deletion waits until the queues have recorded their progress.
    'history.transferProcessorUpdateAckInterval="1s"',
    'history.visibilityProcessorUpdateAckInterval="1s"',
    NEVER_BUSY,
)
