"""The one line: a plugin for `Worker`, `Client` or `Replayer`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.plugin import SimplePlugin
from temporalio.worker import Interceptor, ReplayerConfig, Worker, WorkerConfig

from reconciler.worker.activity import StatusActivity
from reconciler.worker.ending import LARGEST
from reconciler.worker.interceptor import MainPathInterceptor, Selection

if TYPE_CHECKING:
    from reconciler.worker.types import EngineSource


#: For asking the server for its limits, when a worker starts.
DESCRIBED_WITHIN = timedelta(seconds=5)

_Run: TypeAlias = Callable[[Worker], Awaitable[None]]


class ReconcilerPlugin(SimplePlugin):
    """Every workflow of a worker writes its end into its row.

        Worker(client, ..., plugins=[ReconcilerPlugin()])

    or on the client, for all of its workers; then it must not be given to a worker again. Give it
    to `Replayer` too: histories that it took part in cannot be replayed without it.

    A workflow stays open while its end is being written: some milliseconds as a rule, 20 seconds at
    most. Until then its id is taken, updates are refused, and signals are lost: they are accepted,
    but its function has returned. `handlers=False` leaves workflows with signal or update handlers
    to the reconciler.

    The table is described by the same `RECONCILER_*` settings as for the reconciler itself.
    """

    def __init__(
        self,
        engine: EngineSource | None = None,
        *,
        only: Collection[str] | None = None,
        skip: Collection[str] = (),
        children: bool = False,
        handlers: bool = True,
        task_queue: str | None = None,
    ) -> None:
        """Say where the rows are, and which workflows have one.

        Args:
            engine: The application's `AsyncEngine`, or a function that makes one when it is first
                needed; it is never closed. By default the plugin opens one for `DATABASE_URL`.
            only: The workflow types that report; by default all. Workflows in flight are safe
                when this or any other of these changes: what a history holds is replayed.
            skip: Workflow types that do not report, also if `only` names them.
            children: Whether child workflows report. They have rows of their own more seldom.
            handlers: Whether workflows that take signals or updates report. While the end is being
                written, their workflow id is taken, signals are lost and updates refused; with
                False they are left to the reconciler.
            task_queue: Where the activity runs, if not on this worker: another worker, of that
                queue, must have it. For workers whose activity slots are long taken, too: a
                report waits for one.

        Raises:
            TypeError: An argument is not what it should be.
        """
        self._activity = StatusActivity(engine)
        self._selection = Selection(
            only=None if only is None else _names("only", only),
            skip=_names("skip", skip),
            children=children,
            handlers=handlers,
        )
        self._task_queue = task_queue
        self._workers = 0
        super().__init__("reconciler.ReconcilerPlugin", run_context=self._closing)

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Add the interceptor and, unless it runs elsewhere, the activity.

        Raises:
            ValueError: The plugin is there already, or its activity could never run.
        """
        config = super().configure_worker(config)
        interceptors = list(config.get("interceptors") or ())
        if any(isinstance(each, MainPathInterceptor) for each in interceptors):
            raise ValueError(
                "ReconcilerPlugin is given twice: give it to the client or to the worker, not both"
            )
        converter = config["client"].data_converter
        config["interceptors"] = [self._interceptor(converter), *interceptors]
        if self._task_queue is not None:
            return config
        if config.get("no_remote_activities"):
            raise ValueError(
                "this worker takes no activity tasks (no_remote_activities), so it cannot write "
                "rows: name the task queue of one that can, ReconcilerPlugin(task_queue=…)"
            )
        activity = self._activity.update_workflow_execution_status
        config["activities"] = [*(config.get("activities") or ()), activity]
        return config

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """Add the interceptor."""
        config = super().configure_replayer(config)
        # In replay nothing is converted that anybody reads.
        interceptor = self._interceptor(DataConverter.default)
        config["interceptors"] = [interceptor, *(config.get("interceptors") or ())]
        return config

    def _interceptor(self, converter: DataConverter) -> MainPathInterceptor:
        # Goes first, which is outermost: what other interceptors make of an end is what counts.
        return MainPathInterceptor(
            self._selection, converter.failure_converter_class, self._task_queue
        )

    async def run_worker(self, worker: Worker, next: _Run) -> None:  # noqa: A002 - the SDK's name
        """Run the worker, by the limits of its namespace."""
        clients = worker.client.config(active_config=True)["interceptors"]
        is_seen = any(isinstance(each, Interceptor) for each in clients)
        for each in worker.config(active_config=True).get("interceptors") or ():
            if isinstance(each, MainPathInterceptor):
                each.surroundings.largest = await _largest(worker.client)
                each.surroundings.is_seen = is_seen
            is_seen = True
        await super().run_worker(worker, next)

    @asynccontextmanager
    async def _closing(self) -> AsyncIterator[None]:
        self._workers += 1
        try:
            yield
        finally:
            self._workers -= 1
            if not self._workers:
                await self._activity.close()


async def _largest(client: Client) -> int:
    """How many bytes a payload may safely have: half of the server's limit, for a codec."""
    request = DescribeNamespaceRequest(namespace=client.namespace)
    try:
        answer = await client.workflow_service.describe_namespace(request, timeout=DESCRIBED_WITHIN)
    except Exception:  # noqa: BLE001 - an old server, or no right to ask; the SDK asks on its own
        return LARGEST
    limit = answer.namespace_info.limits.blob_size_limit_error
    return min(LARGEST, limit // 2) if limit else LARGEST


def _names(option: str, types: Collection[str]) -> frozenset[str]:
    names = frozenset(types)
    if isinstance(types, str) or not all(isinstance(each, str) for each in names):
        raise TypeError(f"{option}= takes a collection of workflow types by name")
    return names
