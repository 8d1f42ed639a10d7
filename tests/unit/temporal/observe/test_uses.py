"""Which listed runs are of another use of the workflow id, and what cannot be known."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.service import RPCStatusCode

from reconciler.core.model import Unknown, Use
from reconciler.core.ports import Ending
from reconciler.temporal.observe import uses as uses_module
from reconciler.temporal.observe.namespaces import NamespacesProbe
from reconciler.temporal.observe.uses import AT_ONCE, MAX_DESCRIBED, other_uses
from tests.support.factories import chain, row
from tests.support.temporal.stubs import error, rpc
from tests.support.temporal.visibility_stub import RUNNING, Service, run

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
STARTED, CLOSED = chain().started_at, chain().closed_at
COMPLETED = Status.WORKFLOW_EXECUTION_STATUS_COMPLETED
FAILED = Status.WORKFLOW_EXECUTION_STATUS_FAILED
TERMINATED = Status.WORKFLOW_EXECUTION_STATUS_TERMINATED


class Runs(Service):
    """Lists runs, and describes single ones."""

    described = 0

    async def describe_workflow_execution(self, request: Any, **_: Any) -> Any:
        self.described += 1
        (info,) = [r for r in self.runs if r.execution.run_id == request.execution.run_id]
        return DescribeWorkflowExecutionResponse(workflow_execution_info=info)


def listed(
    run_id: str,
    started: datetime,
    closed: datetime | None = CLOSED,
    status: int = COMPLETED,
    first: str = "run-first",
) -> WorkflowExecutionInfo:
    info = run("wf-1", run_id, status if closed else RUNNING, first=first, started=started)
    if closed:
        info.close_time.FromDatetime(closed)
    return info


LAST = listed("run-last", CLOSED - MINUTE)


async def found(
    *runs: WorkflowExecutionInfo, service: Runs | None = None, created: datetime = STARTED
) -> list[Use] | Unknown:
    service = service or Runs(*runs, LAST)
    (uses,) = await other_uses(rpc(service), [ending(created=created)])
    return uses


def ending(id_: int = 1, created: datetime = STARTED) -> Ending:
    return Ending(row(id_, run_id=None, created_at=created), chain())


def ids(uses: list[Use] | Unknown) -> list[str]:
    assert not isinstance(uses, Unknown)
    return [use.run_id for use in uses]


async def test_the_query_is_for_runs_since_the_row_was_created_that_end_a_chain() -> None:
    service = Runs(LAST)

    await found(service=service)

    (request,) = service.asked
    assert request.query == (
        "WorkflowId IN ('wf-1') AND ExecutionStatus != 'ContinuedAsNew'"
        " AND (StartTime >= '2026-11-23T10:59:58+00:00'"
        " OR CloseTime >= '2026-11-23T10:59:58+00:00')"
    )


async def test_only_a_list_that_shows_the_end_is_evidence() -> None:
    uses = await found(service=Runs(listed("run-first", STARTED)))

    assert uses == Unknown("visibility does not show the end of run run-last yet")


@pytest.mark.parametrize("status", [COMPLETED, FAILED])
async def test_attempts_that_follow_each_other_at_once_are_one_chain(status: int) -> None:
    """As retries and cron ticks do; no call is needed, however many they are."""
    before = CLOSED - MINUTE
    attempts = [
        listed(f"attempt-{n}", before - n * SECOND, before - (n - 1) * SECOND - AT_ONCE, status)
        for n in range(1, 2 * MAX_DESCRIBED)
    ]
    service = Runs(*attempts, LAST)

    assert await found(service=service) == []
    assert service.described == 0


@pytest.mark.parametrize(("first", "foreign"), [("run-first", []), ("another", ["run"])])
@pytest.mark.parametrize(
    ("status", "gap"),
    [
        pytest.param(FAILED, AT_ONCE + timedelta(microseconds=1), id="later"),
        pytest.param(FAILED, -SECOND, id="overlapping"),
        pytest.param(TERMINATED, timedelta(), id="terminated"),
    ],
)
async def test_other_runs_are_described(
    first: str, foreign: list[str], status: int, gap: timedelta
) -> None:
    """A reset of the chain's first run, or another use before or between."""
    between = listed("run", STARTED + MINUTE, CLOSED - MINUTE - gap, status, first)

    assert ids(await found(between)) == foreign


@pytest.mark.parametrize(
    ("started", "closed"),
    [
        pytest.param(STARTED - MINUTE, STARTED - SECOND, id="earlier"),
        pytest.param(CLOSED - SECOND, None, id="since then"),
    ],
)
async def test_a_run_from_before_or_after_the_chain_is_another_use(
    started: datetime, closed: datetime | None
) -> None:
    service = Runs(listed("run", started, closed), LAST)

    assert await found(service=service) == [Use("run", started, closed)]
    assert service.described == 0


async def test_a_run_that_closed_before_the_row_was_created_does_not_count() -> None:
    assert await found(listed("run", STARTED - MINUTE, STARTED - 3 * SECOND)) == []


async def test_the_descriptions_for_one_row_are_bounded() -> None:
    many = [listed(f"run-{n}", STARTED + n * SECOND) for n in range(1, MAX_DESCRIBED + 2)]

    assert isinstance(await found(*many), Unknown)


async def test_rows_are_listed_together_and_in_halves_if_that_is_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uses_module, "MAX_PAGE", 1)

    class Full(Runs):
        async def list_workflow_executions(self, request: Any, **_: Any) -> Any:
            answer = await super().list_workflow_executions(request)
            answer.next_page_token = b"more" if len(self.ids[-1]) > 1 else b""
            return answer

    def runs(numbers: Iterable[int]) -> list[WorkflowExecutionInfo]:
        made = [listed("run-last", CLOSED - MINUTE) for _ in numbers]
        for number, each in enumerate(made, start=1):
            each.execution.workflow_id = f"wf-{number}"
        return made

    endings = [ending(n) for n in range(1, 5)]
    for service, calls in ((Runs(*runs(range(4))), 1), (Full(*runs(range(4))), 7)):
        assert await other_uses(rpc(service), endings) == [[]] * 4
        assert len(service.asked) == calls


async def test_an_id_with_too_many_runs_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uses_module, "MAX_PAGE", 1)
    service = Runs(LAST)
    service.more = b"more"

    assert await found(service=service) == Unknown("visibility lists more than 1 runs of its id")


async def test_that_there_are_more_runs_is_not_believed_of_a_page_that_is_not_full() -> None:
    """Some servers say so on every page that has results."""

    class Naming(Runs):
        async def list_workflow_executions(self, request: Any, **_: Any) -> Any:
            answer = await super().list_workflow_executions(request)
            if request.next_page_token:
                return type(answer)(executions=self.rest, next_page_token=self.more)
            answer.next_page_token = b"more"
            return answer

        rest: tuple[WorkflowExecutionInfo, ...] = ()

    service = Naming(LAST)
    assert await found(service=service) == []
    assert len(service.asked) == 2

    service.rest = (listed("run-other", STARTED - MINUTE),)
    assert ids(await found(service=service)) == ["run-other"]

    service.more = b"even more"
    assert isinstance(await found(service=service), Unknown)


async def test_an_id_with_a_quote_is_listed_by_itself() -> None:
    queries: list[str] = []

    class Odd(Runs):
        async def list_workflow_executions(self, request: Any, **_: Any) -> Any:
            queries.append(request.query)
            return type(await super().list_workflow_executions(request))()

    odd = Ending(row(2, workflow_id="o'17", run_id=None), chain())
    await other_uses(rpc(Odd(LAST)), [ending(), odd])

    assert sorted(query.split(" AND ")[0] for query in queries) == [
        "WorkflowId IN ('o\\'17')",
        "WorkflowId IN ('wf-1')",
    ]


async def test_a_store_that_refuses_is_not_asked_again_in_the_pass() -> None:
    service = Runs(LAST)
    service.refusals["ns"] = [error(RPCStatusCode.PERMISSION_DENIED, "no")]
    probe = NamespacesProbe(rpc(service))
    await probe.retention()

    for _ in range(100):
        (uses,) = await probe.other_uses([ending()])
        assert isinstance(uses, Unknown)
        assert uses.cause.startswith("visibility")

    await probe.retention()
    service.refusals.clear()
    assert await probe.other_uses([ending()]) == [[]]
