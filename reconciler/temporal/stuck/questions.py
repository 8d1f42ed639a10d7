"""What is asked besides the descriptions of rows: queues, children and histories, once per pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

import structlog

from reconciler.core.stuck.allowance import Allowance
from reconciler.core.stuck.workflow import OpenWorkflow, Queue, QueueKey
from reconciler.host.causes import Causes
from reconciler.temporal.client.error_codes import Denied, NamespaceUnusable, NotFound, RowError
from reconciler.temporal.client.execution_info import is_open
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.failures.encoded_attributes import PLACEHOLDER
from reconciler.temporal.failures.failure_decoder import FailureDecoder
from reconciler.temporal.failures.redactor import Redactor
from reconciler.temporal.stuck.open_workflow import open_workflow
from reconciler.temporal.stuck.queues import TYPES, as_queue
from reconciler.temporal.stuck.task_failure import EVENTS, TaskFailure, task_failure
from reconciler.temporal.stuck.texts import Texts

#: Calls that failed, after which a pass makes no more: each may take seconds.
MAX_FAILED = 3
#: Runs whose task failures are remembered.
MAX_FAILURES = 1_000

_T = TypeVar("_T")

log = structlog.get_logger(__name__)


class Unanswered(Exception):
    """Nothing more may be asked in this pass, or there was no answer."""


class Questions:
    """Asks within the allowance, and remembers the answers."""

    def __init__(self, rpc: Rpc, redactor: Redactor, decoder: FailureDecoder | None) -> None:
        """As for `TemporalDiagnosis`."""
        self._rpc, self._redactor, self._decoder = rpc, redactor, decoder
        self._allowance = Allowance()
        self._causes = Causes(lines=1)
        self._task_failures: dict[str, TaskFailure | None] = {}
        self._forget()

    def _forget(self) -> None:
        self._queues = defaultdict[str, dict[QueueKey, Queue]](dict)
        self._children: dict[tuple[str, str], OpenWorkflow | None] = {}
        #: What was asked, whether it was answered or not.
        self._asked = set[object]()
        self._failed = 0
        self._denied = set[str]()

    def start_pass(self) -> None:
        """Forget the answers, which may be others now, but not what a history said."""
        self._allowance.start_pass()
        self._causes.end_round()
        self._forget()

    def described(self, rows: int) -> None:
        """Rows were described: so much more may be asked."""
        self._allowance.described(rows)

    def texts(self, namespace: str, workflow_id: str) -> Texts:
        """What makes texts out of a workflow's description."""
        return Texts(self._redactor, self._decoder, namespace, workflow_id)

    def queues(self, namespace: str) -> Mapping[QueueKey, Queue]:
        """The queues that were described."""
        return self._queues[namespace]

    def may_see_queues(self, namespace: str) -> bool:
        """Whether no description of a queue was denied."""
        return namespace not in self._denied

    async def ask_queue(self, namespace: str, key: QueueKey, now: datetime) -> None:
        """Describe a queue, unless that was tried."""
        about = namespace, *key
        if not self._may_ask(about) or not self.may_see_queues(namespace):
            return
        if self._allowance.take_queue():
            name, type_ = key
            describing = self._rpc_of(namespace).describe_queue(name, TYPES[type_])
            described = await self._answer(namespace, about, describing)
            if described is not None:
                self._queues[namespace][key] = replace(as_queue(described), described_at=now)

    async def ask_child(
        self, namespace: str, workflow_id: str, now: datetime
    ) -> OpenWorkflow | None:
        """What Temporal says about a child; None if it has ended. Raises `Unanswered`."""
        about = namespace, workflow_id
        if about not in self._children:
            if not self._may_ask(about) or not self._allowance.take_child():
                raise Unanswered
            found = await self._child(namespace, workflow_id)
            self._children[about] = found and replace(found, described_at=now)
        return self._children[about]

    async def _child(self, namespace: str, workflow_id: str) -> OpenWorkflow | None:
        # By its id alone: a child that continued as new has another run than its parent says.
        describing = self._rpc_of(namespace).describe(workflow_id)
        try:
            described = await self._answer(namespace, (namespace, workflow_id), describing)
        except NotFound:
            return None
        if described is None:
            raise Unanswered
        if not is_open(described.workflow_execution_info):
            return None
        return await open_workflow(described, self.texts(namespace, workflow_id))

    def is_failure_known(self, run_id: str) -> bool:
        """Whether `ask_task_failure` needs no call."""
        return run_id in self._task_failures

    async def ask_task_failure(
        self, namespace: str, workflow_id: str, run_id: str
    ) -> TaskFailure | None:
        """Why the workflow tasks of a run fail; None if its history does not say, or was not read.

        It is read once for each run that keeps failing, if it can be decoded.
        """
        about = namespace, workflow_id, run_id
        if run_id not in self._task_failures:
            if not self._may_ask(about) or not self._allowance.take_history():
                return None
            reading = self._rpc_of(namespace).latest_events(workflow_id, run_id, EVENTS)
            try:
                events = await self._answer(namespace, about, reading)
            except NotFound:
                return None
            if events is None:
                return None
            if len(self._task_failures) >= MAX_FAILURES:
                self._task_failures.clear()
            failure = await task_failure(events, self.texts(namespace, workflow_id))
            if failure and self._decoder and PLACEHOLDER in failure.text:
                return failure  # the codec may answer next time
            self._task_failures[run_id] = failure
        return self._task_failures[run_id]

    def forget_task_failure(self, run_id: str) -> None:
        """Its workflow tasks do not fail; if they do one day, it is for another reason."""
        self._task_failures.pop(run_id, None)

    def _rpc_of(self, namespace: str) -> Rpc:
        if namespace == self._rpc.namespace:
            return self._rpc
        return self._rpc.in_namespace(namespace)

    def _may_ask(self, about: object) -> bool:
        return about not in self._asked and self._failed < MAX_FAILED

    async def _answer(self, namespace: str, about: object, asking: Awaitable[_T]) -> _T | None:
        """The answer; None if there is none. Raises `NotFound` and `TemporalUnusable`."""
        self._asked.add(about)
        try:
            return await asking
        except NotFound:
            raise
        except Denied as error:
            self._denied.add(namespace)
            self._log(error, "allow DescribeTaskQueue, or rows without a worker are not found")
        except NamespaceUnusable as error:
            if namespace == self._rpc.namespace:
                raise
            self._count(error)
        except RowError as error:
            self._count(error)
        return None

    def _count(self, error: Exception) -> None:
        self._failed += 1
        self._log(error, "their rows are judged in a later pass")

    def _log(self, error: Exception, hint: str) -> None:
        if self._causes.is_news(str(error)):
            log.warning("diagnosis_incomplete", error=str(error), hint=hint)
