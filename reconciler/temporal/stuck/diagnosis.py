"""Says why open workflows are open, with as few calls as possible.

The descriptions of the rows say most of it. What is missing is asked in this order, since a queue
serves many rows and a child only one: queues, histories of failing workflow tasks, children.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from reconciler.core.model import RowId, RunRow
from reconciler.core.stuck.condition import Condition, Diagnosis, Reason, StuckRow
from reconciler.core.stuck.why import children_needed, queues_needed, why_open
from reconciler.core.stuck.workflow import OpenWorkflow, Poller, Queue
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.failures.failure_decoder import FailureDecoder
from reconciler.temporal.failures.redactor import Redactor
from reconciler.temporal.stuck.evidence import Evidence
from reconciler.temporal.stuck.open_workflow import open_workflow
from reconciler.temporal.stuck.questions import Questions, Unanswered

#: By how many rows each pass begins later with the questions that are limited per pass, so that the
#: same rows are not always the ones that are left.
TURN = 20


@dataclass(slots=True)
class _Case:
    """A row of a page, and what is known so far."""

    row: RunRow
    namespace: str
    workflow: OpenWorkflow
    condition: Condition | None = None


class TemporalDiagnosis:
    """Implements `Diagnosing` over the calls of a connection, in the namespace of each row."""

    def __init__(self, rpc: Rpc, redactor: Redactor, decoder: FailureDecoder | None = None) -> None:
        """`redactor`: applied to every text of Temporal or the application."""
        self._redactor, self._decodes = redactor, decoder is not None
        self._questions = Questions(rpc, redactor, decoder)
        self._passes = 0

    def start_pass(self) -> None:
        """See `Diagnosing`."""
        self._passes += 1
        self._questions.start_pass()

    async def diagnose(
        self,
        described: Sequence[tuple[RunRow, object]],
        now: datetime,
        known: Mapping[RowId, StuckRow],
    ) -> Sequence[Diagnosis | None]:
        """See `Diagnosing`."""
        self._questions.described(len(described))
        cases = await self._cases(described)
        read = [case for case in cases if case is not None]
        first = self._passes * TURN % len(read) if read else 0
        in_turn = read[first:] + read[:first]
        for case in in_turn:
            await self._ask_queues(case, now)
            case.condition = self._why_open(case, now)
        for case in in_turn:
            await self._ask_history(case, now, known.get(case.row.id))
        for case in in_turn:
            await self._ask_children(case, now)
        return [None if case is None else await self._diagnosis(case, now) for case in cases]

    async def _cases(self, described: Sequence[tuple[RunRow, object]]) -> Sequence[_Case | None]:
        if self._decodes:  # a codec may be slow, and takes several failures at the same time
            return await asyncio.gather(*(self._case(*each) for each in described))
        return [await self._case(*each) for each in described]

    async def _case(self, row: RunRow, evidence: object) -> _Case | None:
        if not isinstance(evidence, Evidence):
            return None
        workflow_id = evidence.description.workflow_execution_info.execution.workflow_id
        texts = self._questions.texts(evidence.namespace, workflow_id)
        workflow = await open_workflow(evidence.description, texts)
        return _Case(row, evidence.namespace, workflow)

    def _why_open(self, case: _Case, now: datetime) -> Condition | None:
        return why_open(case.workflow, self._questions.queues(case.namespace), now)

    async def _ask_queues(self, case: _Case, now: datetime) -> None:
        workflow = case.workflow
        if not (workflow.task or workflow.activities or workflow.children):
            return  # most rows; it only saves time
        for key in sorted(queues_needed(workflow, now)):
            await self._questions.ask_queue(case.namespace, key)

    async def _ask_history(self, case: _Case, now: datetime, known: StuckRow | None) -> None:
        """Read why the workflow tasks of a run fail, unless that is recorded of the row."""
        condition, run_id = case.condition, case.workflow.run_id
        if condition is None or condition.reason is not Reason.WORKFLOW_TASK_FAILING:
            self._questions.forget_task_failure(run_id)
            return
        if not self._questions.is_failure_known(run_id) and _says_more(known, condition, run_id):
            assert known is not None  # noqa: S101
            case.condition = replace(condition, text=known.text, cause=known.cause)
            return
        failure = await self._questions.ask_task_failure(
            case.namespace, case.workflow.workflow_id, run_id
        )
        if failure:
            task = case.workflow.task
            task = task and replace(task, first_scheduled_at=failure.since)
            case.workflow = replace(case.workflow, task=task, task_failure=failure.text)
            case.condition = self._why_open(case, now)

    async def _ask_children(self, case: _Case, now: datetime) -> None:
        while case.condition is None:
            queues = self._questions.queues(case.namespace)
            needed = children_needed(case.workflow, queues, now)
            if not needed:
                return
            child, children = needed[0], case.workflow.children
            try:
                found = await self._questions.ask_child(case.namespace, child.workflow_id)
            except Unanswered:
                return
            asked = [] if found is None else [replace(child, workflow=found)]
            others = [each for each in children if each is not child]
            case.workflow = replace(case.workflow, children=(*others, *asked))
            await self._ask_queues(case, now)
            case.condition = self._why_open(case, now)

    async def _diagnosis(self, case: _Case, now: datetime) -> Diagnosis | None:
        condition = case.condition
        if condition is None and not self._questions.may_see_queues(case.namespace):
            condition = _apart_from_workers(case.workflow, now)
        if condition is None:
            return None
        if not condition.reason.is_healthy:  # now also the names and identities beside a failure
            text = await self._redactor.line(condition.text)
            cause = await self._redactor.line(condition.cause)
            condition = replace(condition, text=text, cause=cause)
        return Diagnosis(condition, case.workflow.run_id, case.workflow.workflow_type)


def _says_more(known: StuckRow | None, condition: Condition, run_id: str) -> bool:
    """Whether what is recorded of the same problem of the run names a cause from its history."""
    if known is None or (known.reason, known.run_id) != (condition.reason, run_id):
        return False
    return known.cause != condition.cause


def _apart_from_workers(workflow: OpenWorkflow, now: datetime) -> Condition | None:
    """Why it is open if workers poll its queues; None if it is healthy then: they may not."""
    polled = Queue((Poller("", None, workflow.version),))
    queues = dict.fromkeys(queues_needed(workflow, now), polled)
    condition = why_open(workflow, queues, now)
    return None if condition and condition.reason.is_healthy else condition
