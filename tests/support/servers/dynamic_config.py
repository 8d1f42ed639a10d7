"""What Temporal's dev server is told for the tests, as KEY=VALUE."""

from __future__ import annotations

#: The server tells whoever gives way, as we do, that a workflow is busy after half a second.
NEVER_BUSY = 'history.cacheNonUserContextLockTimeout="1m"'
#: What the dev server needs so that every case can be made in seconds.
DYNAMIC_CONFIG = (
    'system.namespaceMinRetentionLocal="1s"',
    'history.retentionTimerJitterDuration="1s"',
    'history.workflowIdReuseMinimalInterval="0s"',
    "frontend.WorkflowPauseEnabled=true",
    # A deletion waits until the queues have noted down how far they are.
    'history.transferProcessorUpdateAckInterval="1s"',
    'history.visibilityProcessorUpdateAckInterval="1s"',
    NEVER_BUSY,
)
