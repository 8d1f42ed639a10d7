"""Dynamic configuration of Temporal's dev server for the tests, as KEY=VALUE."""

from __future__ import annotations

#: By default, low-priority calls such as reconciler's fail if a workflow is busy for half a second.
NEVER_BUSY = 'history.cacheNonUserContextLockTimeout="1m"'
#: By default, the server closes each connection after five minutes: now and then a call is lost.
NEVER_CLOSED = 'frontend.keepAliveMaxConnectionAge="24h"'
#: With these, tests can bring about every case within seconds.
DYNAMIC_CONFIG = (
    'system.namespaceMinRetentionLocal="1s"',
    'history.retentionTimerJitterDuration="1s"',
    'history.workflowIdReuseMinimalInterval="0s"',
    "frontend.WorkflowPauseEnabled=true",
    # Without it, Nexus operations are not attempted. Nobody listens there.
    'component.nexusoperations.callback.endpoint.template="http://127.0.0.1:9/"',
    # A deletion waits until the queues have recorded their progress.
    'history.transferProcessorUpdateAckInterval="1s"',
    'history.visibilityProcessorUpdateAckInterval="1s"',
    NEVER_BUSY,
    NEVER_CLOSED,
)
