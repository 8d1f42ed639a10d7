"""The process of `reconciler worker`: connections, signals, the exit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from reconciler.app.wiring import Shared
from reconciler.core.errors import ReconcilerError, TemporalUnfit, TemporalUnusable
from reconciler.fleet.activities import Activities
from reconciler.fleet.apps import Apps
from reconciler.fleet.tasks import range_queue
from reconciler.fleet.workflow import BackfillWorkflow
from reconciler.host.service import run_until_signal
from reconciler.settings.model import Settings
from reconciler.temporal.client.connect import connect
from reconciler.temporal.client.error_codes import NamespaceUnfit
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.config.load import load_config

#: Seconds between two heartbeats that the server gets. The SDK's own default is most of the
#: heartbeat timeout, and that much would be done twice after a kill.
HEARTBEATS_APART = 10.0
#: Seconds until Temporal is tried again that could not be reached; twice as long each time.
FIRST_RETRY, LAST_RETRY = 1.0, 30.0
#: Seconds between two looks whether it can be reached.
CHECK_EVERY = 60.0
#: Short activities at a time.
SHORT_ONES = 10
_CHECK_OWN = "check RECONCILER_WORKER_NAMESPACE, and the access of this key to it"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Queue:
    """A task queue, and how it is reached."""

    config: Mapping[str, Any]
    namespace: str
    name: str

    @classmethod
    def of(cls, settings: Settings) -> Queue:
        """The queue of a target. Raises `ConfigurationError`."""
        config = load_config(settings.temporal_environment(), settings.proxy_url)
        return cls(config, settings.worker_namespace or _of_rows(config), settings.task_queue)

    async def connect(self) -> Rpc:
        """Connect to the queue's namespace, however long that takes. Raises `TemporalUnfit`."""
        delay = FIRST_RETRY
        while True:
            try:
                rpc, _ = await connect({**self.config, "namespace": self.namespace}, max_rps=0)
            except NamespaceUnfit as error:
                if self.namespace == _of_rows(self.config):
                    raise
                raise TemporalUnfit(error.problem, _CHECK_OWN) from error
            except TemporalUnfit:
                raise
            except TemporalUnusable as error:  # a container must not crash-loop
                log.warning("server_unusable", error=str(error), retry_in=delay)
                await asyncio.sleep(delay)
                delay = min(2 * delay, LAST_RETRY)
            else:
                return rpc


def _of_rows(config: Mapping[str, Any]) -> str:
    return config.get("namespace") or "default"


async def run_worker(each: Sequence[Settings], ranges: int) -> None:
    """Work on distributed backfills of these targets until SIGTERM or SIGINT.

    `ranges`: at a time, in this process. Raises `ConfigurationError`, or `Unusable` if Temporal
    cannot be used.
    """
    await run_until_signal(_run(each, ranges))


async def _run(each: Sequence[Settings], ranges: int) -> None:
    shared = _shared(each)
    try:
        async with asyncio.TaskGroup() as group:
            for queue, targets in _together(each):
                group.create_task(_serve(queue, targets, ranges, shared))
    except* ReconcilerError as errors:
        raise errors.exceptions[0] from None


def _shared(each: Sequence[Settings]) -> Shared:
    """Connections without limits: every range brings its own, and the rest asks little."""
    free = [one.model_copy(update={"max_rps": 0, "visibility_rps": 0}) for one in each]
    return Shared([(s, load_config(s.temporal_environment(), s.proxy_url)) for s in free])


async def _serve(queue: Queue, targets: Sequence[Settings], ranges: int, shared: Shared) -> None:
    rpc = await queue.connect()
    apps = Apps({settings.target: settings for settings in targets}, shared)
    workers = _workers(rpc.client, queue, Activities(apps), ranges)
    names = [settings.target for settings in targets if settings.target]
    log.info(
        "worker_started",
        task_queue=queue.name,
        namespace=queue.namespace,
        ranges=ranges,
        **({"targets": names} if names else {}),
    )
    watching = asyncio.create_task(_watch(rpc))
    try:
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker.run())
    except* RuntimeError as errors:  # the SDK's, such as for a namespace that is gone
        raise TemporalUnfit(f"the worker has ended: {errors.exceptions[0]}") from errors
    finally:
        watching.cancel()
        await apps.close()


async def _watch(rpc: Rpc) -> None:
    """Say when Temporal cannot be reached: the SDK's workers try again without a word.

    A call every minute also makes the client use an API key that was rotated.
    """
    failing = False
    while True:
        await asyncio.sleep(CHECK_EVERY)
        try:
            await rpc.describe_namespace()
        except TemporalUnusable as error:
            if not failing:
                log.warning("server_unusable", error=str(error))
            failing = True
        else:
            if failing:
                log.info("server_usable")
            failing = False


def _together(each: Sequence[Settings]) -> Sequence[tuple[Queue, Sequence[Settings]]]:
    """The targets by their queue: two that are the same have one worker."""
    found: list[tuple[Queue, list[Settings]]] = []
    for settings in each:
        queue = Queue.of(settings)
        same = next((targets for known, targets in found if known == queue), None)
        if same is None:
            found.append((queue, [settings]))
        else:
            same.append(settings)
    return found


def _workers(client: Client, queue: Queue, do: Activities, ranges: int) -> list[Worker]:
    """Two of them, so that a range, which takes minutes, never keeps what is short waiting."""
    short = Worker(
        client,
        task_queue=queue.name,
        workflows=[BackfillWorkflow],
        activities=do.short(),
        # The workflow is ours, and its replay is tested. The sandbox would cost each worker memory.
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_activities=SHORT_ONES,
    )
    long = Worker(
        client,
        task_queue=range_queue(queue.name),
        activities=do.ranges(),
        max_concurrent_activities=ranges,
        max_heartbeat_throttle_interval=timedelta(seconds=HEARTBEATS_APART),
    )
    return [short, long]
