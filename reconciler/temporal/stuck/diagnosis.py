"""Says why open workflows are open, with as few calls as possible.

The descriptions of the rows say most of it. What is missing is asked in this order, since a queue
serves many rows and a child only one: queues, histories of failing workflow tasks, children.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import randrange

from reconciler.core.model import RowId, RunRow
from reconciler.core.stuck.children import named_child
from reconciler.core.stuck.condition import Condition, Diagnosis, Outdated, Reason, StuckRow
from reconciler.core.stuck.runs import recorded_failure
from reconciler.core.stuck.why import (
    apart_from_workers,
    children_needed,
    may_hold,
    queues_needed,
    why_open,
)
from reconciler.core.stuck.workflow import OpenWorkflow, PendingChild
from reconciler.host.steady_clock import steady
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.failures.encoded_attributes import PLACEHOLDER
from reconciler.temporal.failures.failure_decoder import FailureDecoder
from reconciler.temporal.failures.redactor import Redactor
from reconciler.temporal.stuck.evidence import Evidence
from reconciler.temporal.stuck.open_workflow import open_workflow
from reconciler.temporal.stuck.questions import Questions, Unanswered
from reconciler.temporal.stuck.task_failure import TaskFailure

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
        #: Whose turn it is. At random, because `once` has one pass, and others follow it.
        self._turn = randrange(1_000_000)  # noqa: S311

    def start_pass(self) -> None:
        """See `Diagnosing`."""
        self._turn += 1
        self._questions.start_pass()

    async def diagnose(
        self,
        described: Sequence[tuple[RunRow, object]],
        now: datetime,
        known: Mapping[RowId, StuckRow],
    ) -> Sequence[Diagnosis | Outdated | None]:
        """See `Diagnosing`."""
        self._questions.described(len(described))
        cases = await self._cases(described, now)
        read = [case for case in cases if case is not None]
        first = self._turn * TURN % len(read) if read else 0
        in_turn = read[first:] + read[:first]
        for case in in_turn:
            await self._ask_queues(case, now)
            case.condition = self._why_open(case, now)
        for case in in_turn:
            await self._ask_history(case, now, known.get(case.row.id))
        for case in in_turn:
            await self._ask_children(case, now, known.get(case.row.id))
        return [
            None if case is None else await self._diagnosis(case, now, known.get(case.row.id))
            for case in cases
        ]

    async def _cases(
        self, described: Sequence[tuple[RunRow, object]], now: datetime
    ) -> Sequence[_Case | None]:
        if self._decodes:  # a codec may be slow, and takes several failures at the same time
            return await asyncio.gather(*(self._case(*each, now) for each in described))
        return [await self._case(*each, now) for each in described]

    async def _case(self, row: RunRow, evidence: object, now: datetime) -> _Case | None:
        if not isinstance(evidence, Evidence):
            return None
        workflow_id = evidence.description.workflow_execution_info.execution.workflow_id
        texts = self._questions.texts(evidence.namespace, workflow_id)
        workflow = await open_workflow(evidence.description, texts)
        # The first rows of a page may wait for minutes until the last one is described.
        described_at = now - timedelta(seconds=steady() - evidence.received_at)
        workflow = replace(workflow, described_at=min(described_at, now))
        return _Case(row, evidence.namespace, workflow)

    def _why_open(self, case: _Case, now: datetime) -> Condition | None:
        return why_open(case.workflow, self._questions.queues(case.namespace), now)

    async def _ask_queues(self, case: _Case, now: datetime) -> None:
        workflow = case.workflow
        if not (workflow.task or workflow.activities or workflow.children):
            return  # most rows; it only saves time
        for key in sorted(queues_needed(workflow, now)):
            await self._questions.ask_queue(case.namespace, key, now)

    async def _ask_history(self, case: _Case, now: datetime, known: StuckRow | None) -> None:
        """Read why the workflow tasks of a run fail, unless that is recorded of the row."""
        condition, run_id = case.condition, case.workflow.run_id
        if condition is None or condition.reason is not Reason.WORKFLOW_TASK_FAILING:
            self._questions.forget_task_failure(run_id)
            return
        if not self._questions.is_failure_known(run_id) and known and known.run_id == run_id:
            said = recorded_failure(known, case.workflow)
            if said and not (self._decodes and PLACEHOLDER in said):
                self._task_failed(case, TaskFailure(said, known.since), now)
                return
        failure = await self._questions.ask_task_failure(
            case.namespace, case.workflow.workflow_id, run_id
        )
        if failure:
            self._task_failed(case, failure, now)

    def _task_failed(self, case: _Case, failure: TaskFailure, now: datetime) -> None:
        task = case.workflow.task
        task = task and replace(task, first_scheduled_at=failure.since)
        case.workflow = replace(case.workflow, task=task, task_failure=failure.text)
        case.condition = self._why_open(case, now)

    async def _ask_children(self, case: _Case, now: datetime, known: StuckRow | None) -> None:
        named = _child_named_before(case.workflow, known)
        if named and case.workflow.has_more_children:
            kept = [each for each in case.workflow.children if each.workflow_id != named]
            case.workflow = replace(case.workflow, children=(PendingChild(named, ""), *kept))
        while case.condition is None:
            queues = self._questions.queues(case.namespace)
            needed = children_needed(case.workflow, queues, now)
            if not needed:
                return
            # Few calls may be left: each pass begins with another child.
            in_turn = needed[self._turn % len(needed)]
            child = next((each for each in needed if each.workflow_id == named), in_turn)
            children = case.workflow.children
            try:
                found = await self._questions.ask_child(case.namespace, child.workflow_id, now)
            except Unanswered:
                return
            if not child.workflow_type and found and found.parent_id != case.workflow.workflow_id:
                found = None  # another workflow has the id now
            asked = [] if found is None else [_answered(child, found)]
            others = [each for each in children if each is not child]
            case.workflow = replace(case.workflow, children=(*others, *asked))
            await self._ask_queues(case, now)
            case.condition = self._why_open(case, now)

    async def _diagnosis(
        self, case: _Case, now: datetime, known: StuckRow | None
    ) -> Diagnosis | Outdated | None:
        condition = case.condition
        if condition is None and not self._questions.may_see_queues(case.namespace):
            apart = apart_from_workers(case.workflow, now)
            # It may not be healthy: perhaps nobody polls its queues.
            condition = None if apart and apart.reason.is_healthy else apart
        if condition is None:
            queues = self._questions.queues(case.namespace)
            holds = known is None or may_hold(known, case.workflow, queues, now)
            return None if holds else Outdated()
        if not condition.reason.is_healthy:  # now also the names and identities beside a failure
            text = await self._redactor.line(condition.text)
            cause = await self._redactor.line(condition.cause)
            condition = replace(condition, text=text, cause=cause)
        return Diagnosis(condition, case.workflow.run_id, case.workflow.workflow_type)


def _child_named_before(workflow: OpenWorkflow, known: StuckRow | None) -> str | None:
    """The child that was stuck before: of thousands, only that one is asked about in each pass."""
    if known is None or known.run_id != workflow.run_id:
        return None
    return named_child(known.text) if known.reason is Reason.WAITING_FOR_CHILD else None


def _answered(child: PendingChild, found: OpenWorkflow) -> PendingChild:
    return replace(child, workflow=found, workflow_type=found.workflow_type)
