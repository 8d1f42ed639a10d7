"""The plugin for `Worker`, `Client` and `Replayer`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from temporalio import workflow
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, ClientConfig
from temporalio.plugin import SimplePlugin
from temporalio.worker import Interceptor, ReplayerConfig, Worker, WorkerConfig

from reconciler.host.cancellation import wait_until_done
from reconciler.worker.activity import StatusActivity
from reconciler.worker.after_close.choice import Choice, names
from reconciler.worker.ending import PAYLOAD_LIMIT
from reconciler.worker.interceptor import MainPathInterceptor
from reconciler.worker.reporter import StatusOf, check_status_of
from reconciler.worker.tables import Tables
from reconciler.worker.targets import TargetChoice

if TYPE_CHECKING:
    from reconciler.worker.database.sources import EngineSources, GivenSettings

#: For the call that reads the namespace's limits when a worker starts.
DESCRIBE_TIMEOUT = timedelta(seconds=5)

_Run: TypeAlias = Callable[[Worker], Awaitable[None]]


class ReconcilerPlugin(SimplePlugin):
    """Every workflow of a worker writes its end into its row.

        Worker(client, ..., plugins=[ReconcilerPlugin()])

    Or pass it to the client, for all of its workers, but then not to a worker as well. Pass it to
    `Replayer` too: a history with a report cannot be replayed without it.

    A workflow stays open while its end is written: usually some milliseconds, at most 20 seconds.
    Until then its id is in use, updates are rejected, and signals are lost: they are accepted, but
    the workflow's function has returned. `handlers=False` leaves workflows with signal or update
    handlers to the reconciler.

    The `RECONCILER_*` settings describe the table, as they do for the reconciler itself.
    """

    def __init__(
        self,
        engine: EngineSources | None = None,
        *,
        targets: Mapping[str, str] | str | None = None,
        settings: GivenSettings | None = None,
        only: Collection[str] | None = None,
        skip: Collection[str] = (),
        children: bool = False,
        handlers: bool = True,
        task_queue: str | None = None,
        status_of: StatusOf | None = None,
        report: Literal["activity", "after_close"] = "activity",
        after_close: Collection[str] = (),
    ) -> None:
        """Configure where the rows are and which workflows report.

        Options can change while workflows are running: what a history contains is replayed as is.

        Args:
            engine: The application's `AsyncEngine`, or a function that makes one when it is first
                needed; it is never closed. By default the plugin opens one for `DATABASE_URL`. For
                several targets: one for all, or a mapping by the names of targets.
            targets: The target that the rows of each workflow type are in, by type, or one for all;
                types that a mapping does not name do not report, unless their decorator has a
                target. By default there is only one, or the decorators name it.
            settings: The table, made in code: files and the environment are not read for it. For
                several targets: a mapping by their names.
            only: The workflow types that report; by default all.
            skip: Workflow types that do not report, even if `only` names them.
            children: Whether child workflows report. Few have rows of their own.
            handlers: Whether workflows with signal or update handlers report by the activity; see
                the class.
            task_queue: The task queue of the activity, if a worker of another queue runs it. Also
                for workers whose activity slots are taken for long: a report waits for one.
            status_of: Called with what a workflow returned, if COMPLETED is not always success:
                returns the value for the status column, or None to leave the row. It runs in the
                workflow, so it must be deterministic. The reconciler does not see results: set
                `RECONCILER_STATUSES__COMPLETED` to empty, or it writes that value to rows that were
                left.
            report: "activity": the row is written by an activity, at the end of the workflow.
                "after_close": it is written by the worker's process once Temporal has closed the
                workflow, which is neither held open nor gets any event.
            after_close: Workflow types that report after their close, if not all do.

        Raises:
            TypeError: An argument has the wrong type.
            ConfigurationError: A setting or `report` is invalid, there is no such target, or
                arguments contradict each other. Only workers need a DATABASE_URL: replayers and
                clients do not.
        """
        for name, value in (("children", children), ("handlers", handlers)):
            if not isinstance(value, bool):
                raise TypeError(f"{name}= takes True or False, not {value!r}")
        if task_queue is not None and not (task_queue and isinstance(task_queue, str)):
            raise TypeError(f"task_queue= takes the name of a task queue, not {task_queue!r}")
        check_status_of(status_of)
        selected = None if only is None else names("only", only)
        skipped, types = names("skip", skip), names("after_close", after_close)
        choice = Choice.of(report, types, only=selected, skip=skipped, task_queue=task_queue)
        chosen = TargetChoice.of(targets, only=selected, skip=skipped)
        self._activity = StatusActivity(engine, settings)
        self._tables = Tables(self._activity, chosen, elsewhere=task_queue is not None)
        if not workflow.unsafe.in_sandbox():  # a module with workflows may make the plugin
            self._tables.read()
        self._interceptor = MainPathInterceptor(
            only=selected,
            skip=skipped,
            children=children,
            handlers=handlers,
            task_queue=task_queue,
            after_close=choice,
            targets=chosen,
            status_of=status_of,
        )
        self._is_on_client = False
        self._workers: Counter[asyncio.AbstractEventLoop] = Counter()  # that run in each
        super().__init__("reconciler.ReconcilerPlugin")

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """Remember that the plugin is for all workers of a client."""
        self._is_on_client = True
        return super().configure_client(config)

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Add the interceptor and, where the worker needs it, the activity.

        Raises:
            ValueError: The worker already has the plugin, or could never run its activity.
            ConfigurationError: There is no engine, and no DATABASE_URL; there are several targets,
                and nothing says which; or the worker does not have a type that `after_close` or
                `targets` names (it may not, if the plugin is on the client).
        """
        config = super().configure_worker(config)
        interceptors = list(config.get("interceptors") or ())
        if any(isinstance(each, MainPathInterceptor) for each in interceptors):
            raise ValueError(
                "ReconcilerPlugin is given twice: pass it to the client or to the worker, not both"
            )
        converter = config["client"].data_converter.failure_converter_class
        workflows = config.get("workflows") or ()
        # First, which is outermost: the end counts as the other interceptors leave it.
        own = self._interceptor.of_worker(converter)
        config["interceptors"] = [own, *interceptors]
        if not self._is_on_client:
            own.targets.check(workflows)
            own.after_close.check(workflows)
        own.serves = self._tables.in_use(workflows, own)
        if own.after_close:
            self._tables.check_usable(own.serves)
        has_none = config.get("no_remote_activities") or not config.get("activities")
        if own.task_queue is not None or (own.after_close.every and has_none):
            return config  # it would take all activity tasks of its queue
        if config.get("no_remote_activities"):
            raise ValueError(
                "this worker takes no activity tasks (no_remote_activities), so it cannot write "
                "rows: name the task queue of one that can, ReconcilerPlugin(task_queue=…)"
            )
        self._tables.check_urls(own.serves)
        activity = self._activity.update_workflow_execution_status
        config["activities"] = [*(config.get("activities") or ()), activity]
        return config

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """Add the interceptor."""
        config = super().configure_replayer(config)
        # Any failure converter will do: nobody reads what is converted in a replay.
        config["interceptors"] = [self._interceptor, *(config.get("interceptors") or ())]
        return config

    async def run_worker(self, worker: Worker, next: _Run) -> None:  # noqa: A002 - the SDK's name
        """Run the worker with the limits of its namespace, and check the table meanwhile."""
        own = None
        of_client = _active_config(worker.client)["interceptors"]
        is_seen = any(isinstance(each, Interceptor) for each in of_client)
        for each in _active_config(worker).get("interceptors") or ():
            if isinstance(each, MainPathInterceptor):
                own = each
                each.payload_limit = await _payload_limit(worker.client)
                each.is_seen = is_seen
            is_seen = True
        if own is None or not (own.task_queue is None or own.after_close):
            await super().run_worker(worker, next)
            return
        self._workers[asyncio.get_running_loop()] += 1
        check = asyncio.create_task(self._tables.watch(own))
        if own.after_close:
            own.backlogs = self._activity.backlogs(worker, own.serves)
        try:
            await super().run_worker(worker, next)
        finally:
            # Older SDKs cancel this task as soon as the worker has stopped, and would take that
            # cancellation for a failure of the worker: they would cancel the application's task.
            stopped = asyncio.ensure_future(self._stop(check, own))
            await wait_until_done(stopped)
            stopped.result()

    async def _stop(self, check: asyncio.Task[None], own: MainPathInterceptor) -> None:
        check.cancel()
        await asyncio.wait([check])
        await asyncio.gather(*(each.close() for each in own.backlogs.values()))
        own.backlogs = {}
        loop = asyncio.get_running_loop()
        self._workers[loop] -= 1
        if not self._workers[loop]:
            del self._workers[loop]
            self._tables.problems.clear()
            await self._activity.close()


async def _payload_limit(client: Client) -> int:
    """Bytes that a payload may have: half of the server's limit, as a codec may add to it."""
    request = DescribeNamespaceRequest(namespace=client.namespace)
    try:
        answer = await client.workflow_service.describe_namespace(request, timeout=DESCRIBE_TIMEOUT)
    except Exception:  # noqa: BLE001 - an old server, or no permission; the SDK asks by itself
        return PAYLOAD_LIMIT
    limits = getattr(answer.namespace_info, "limits", None)  # SDK 1.22
    limit = limits.blob_size_limit_error if limits else 0
    return min(PAYLOAD_LIMIT, limit // 2) if limit else PAYLOAD_LIMIT


def _active_config(configured: Client | Worker) -> Mapping[str, Any]:
    """The configuration after all plugins. SDKs before 1.21 have no other."""
    is_older = "active_config" not in signature(configured.config).parameters
    return configured.config(**({} if is_older else {"active_config": True}))
