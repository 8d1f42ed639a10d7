"""The workers that poll task queues for workflows, and the plugins that they run with.

Workers report themselves in heartbeats: SDKs since about 1.20 of Python, once a minute, to servers
since 1.29.1. Others are not listed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.workflowservice.v1 import ListWorkersRequest
from temporalio.service import RPCError

from reconciler.temporal.client.calls import RPC_TIMEOUT
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.observe.visibility import is_plain, quoted

#: Workers of one namespace that are read.
MOST = 1000


@dataclass(frozen=True, slots=True)
class WorkflowWorker:
    """A running worker that runs workflows."""

    queue: str
    identity: str
    host: str
    #: Such as `temporal-python`.
    sdk: str
    version: str
    #: By the names that they give themselves.
    plugins: frozenset[str]


async def workflow_workers(rpc: Rpc, queues: Collection[str]) -> list[WorkflowWorker]:
    """Those that poll these queues, as far as the server knows them; none if it refuses to say."""
    named = " OR ".join(f"TaskQueue={quoted(each)}" for each in sorted(queues) if is_plain(each))
    if not named:
        return []
    request = ListWorkersRequest(namespace=rpc.namespace, query=named, page_size=MOST)
    method = rpc.client.workflow_service.list_workers
    try:
        answer = await method(request, retry=False, timeout=RPC_TIMEOUT)
    except RPCError:  # an older server, no right, heartbeats turned off
        return []
    return list(_running(answer))


def _running(answer: Any) -> Iterator[WorkflowWorker]:
    # Servers before 1.30 fill `workers_info` alone, later ones will leave it out; it is only there
    # that a worker shows whether it runs workflows. The oldest supported SDK knows no `workers`.
    beats = {
        each.worker_heartbeat.worker_instance_key: each.worker_heartbeat
        for each in answer.workers_info
    }
    listed = list(getattr(answer, "workers", ())) or list(beats.values())
    for each in listed:
        beat = beats.get(each.worker_instance_key)
        is_idle = each.status != WorkerStatus.WORKER_STATUS_RUNNING
        if is_idle or (beat is not None and not _runs_workflows(beat)):
            continue
        host = beat.host_info.host_name if beat is not None else each.host_name
        plugins = frozenset(plugin.name for plugin in each.plugins)
        sdk = each.sdk_name, each.sdk_version
        yield WorkflowWorker(each.task_queue, each.worker_identity, host, *sdk, plugins)


def _runs_workflows(beat: Any) -> bool:
    slots, pollers = beat.workflow_task_slots_info, beat.workflow_poller_info
    return bool(
        pollers.current_pollers or slots.current_available_slots or slots.current_used_slots
    )
