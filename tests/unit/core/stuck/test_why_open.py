from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from reconciler.core.stuck.condition import Condition, Reason
from reconciler.core.stuck.why import children_needed, may_hold, queues_needed, why_open
from reconciler.core.stuck.workflow import (
    ActivityState,
    OpenWorkflow,
    Pause,
    PendingActivity,
    Poller,
    Queue,
    QueueType,
)
from tests.support.factories import NOW
from tests.support.open_workflows import (
    MINUTE,
    SECOND,
    activity,
    child,
    operation,
    queue,
    retrying,
    task,
    untaken,
    workflow,
)
from tests.support.stuck import stuck_for

ORDERS = "orders", QueueType.WORKFLOW
ZONES = "zones", QueueType.ACTIVITY
AGES = 10 * MINUTE
FUTURE = NOW + timedelta(hours=1)
NO_QUEUES: dict[tuple[str, QueueType], Queue] = {}
PAUSE = Pause(NOW - 5 * MINUTE, "ops@example.com", "maintenance")

#: What may be recorded.
NO_WORKER: dict[str, Any] = {"reason": Reason.NO_WORKER}
FOR_CHILD: dict[str, Any] = {
    "reason": Reason.WAITING_FOR_CHILD,
    "text": "child workflow Pay [pay-1]: Delayed Pay: delayed",
}
SICK_CHILD = child("pay-1", workflow(activities=(retrying("charge"),)))
OVERLOOKED = retrying(next_attempt_at=None, failure="activity Heartbeat timeout")
#: The reasons in their order, each with what makes it apply.
REASONS: list[tuple[Reason, dict[str, Any]]] = [
    (Reason.PAUSED, {"pause": PAUSE}),
    (Reason.WORKFLOW_TASK_FAILING, {"problem": "WorkflowWorkerUnhandledFailure"}),
    (Reason.NO_WORKER, {"task": task(age=AGES)}),
    (
        Reason.ACTIVITY_PAUSED,
        {"activities": [activity("pay", state=ActivityState.PAUSED, pause=PAUSE)]},
    ),
    (Reason.ACTIVITY_RETRYING, {"activities": [retrying()]}),
    (Reason.ACTIVITY_SILENT, {"activities": [activity("dig", heartbeat_timeout=10 * SECOND)]}),
    (Reason.NEXUS_BLOCKED, {"operations": (operation(blocked="breaker open"),)}),
    (Reason.WAITING_FOR_CHILD, {"children": (SICK_CHILD,)}),
    (Reason.OVERDUE, {"run_expires_at": NOW - AGES}),
    (Reason.WAITING, {}),
]


def silent(time: timedelta, **fields: Any) -> PendingActivity:
    return activity(heartbeat_timeout=100 * SECOND, started_at=NOW - time, **fields)


def judge(of: OpenWorkflow, queues: dict[tuple[str, QueueType], Queue] = NO_QUEUES) -> Condition:
    found = why_open(of, queues, NOW)
    assert found is not None
    return found


def read(of: OpenWorkflow, queues: dict[tuple[str, QueueType], Queue] = NO_QUEUES) -> str:
    found = judge(of, queues)
    return f"{found.reason} {found.text}"


@pytest.mark.parametrize("first", range(len(REASONS)))
def test_the_first_reason_that_applies_is_given(first: int) -> None:
    fields: dict[str, Any] = {"activities": []}
    for _, each in reversed(REASONS[first:]):
        activities = [*each.get("activities", []), *fields["activities"]]
        fields |= each | {"activities": activities}
    assert judge(workflow(**fields), {ORDERS: queue()}).reason is REASONS[first][0]


def test_a_delay_comes_before_an_expiry() -> None:
    late = workflow(execution_at=FUTURE, run_expires_at=NOW - AGES)
    assert judge(late).reason is Reason.DELAYED


@pytest.mark.parametrize(
    ("fields", "text", "since"),
    [
        pytest.param(
            {"pause": PAUSE},
            "Paused OrderWorkflow: paused: maintenance (by ops@example.com, at 11:55:00Z)",
            PAUSE.at,
            id="paused",
        ),
        pytest.param({"pause": Pause(None)}, "Paused OrderWorkflow: paused", None, id="by nobody"),
        pytest.param(
            {"task": task(3, age=AGES), "task_failure": "ValueError: bug"},
            "WorkflowTaskFailing OrderWorkflow: ValueError: bug"
            " (attempt 3 of the workflow task, since 11:50:00Z)",
            NOW - AGES,
            id="failing workflow task",
        ),
        pytest.param(
            {"problem": "WorkflowTaskTimedOut"},
            "WorkflowTaskFailing OrderWorkflow: its workflow task fails: WorkflowTaskTimedOut",
            None,
            id="a problem that Temporal reports",
        ),
        pytest.param(
            {"activities": (activity(state=ActivityState.PAUSED, pause=PAUSE, failure="no"),)},
            "ActivityPaused create_zone: paused: maintenance"
            " (by ops@example.com, at 11:55:00Z, attempt 1, last failure: no)",
            PAUSE.at,
            id="paused activity",
        ),
        pytest.param(
            {"activities": (activity(state=ActivityState.PAUSE_REQUESTED),)},
            "ActivityPaused create_zone: paused after this attempt (attempt 1)",
            None,
            id="an activity that will be paused",
        ),
        pytest.param(
            {"activities": (retrying(maximum_attempts=10, expires_at=NOW + timedelta(days=1)),)},
            "ActivityRetrying create_zone: QuotaExceeded: zone limit is 50"
            " (attempt 7 of 10, next at 12:00:07Z, expires 2026-11-24 12:00:00Z)",
            NOW - AGES,
            id="retrying activity",
        ),
        pytest.param(
            {"activities": (retrying(state=ActivityState.STARTED, started_at=NOW - MINUTE),)},
            "ActivityRetrying create_zone: QuotaExceeded: zone limit is 50"
            " (attempt 7, running since 11:59:00Z)",
            NOW - AGES,
            id="another attempt runs",
        ),
        pytest.param(
            {"activities": (retrying(next_attempt_at=None, scheduled_at=NOW - MINUTE),)},
            "ActivityRetrying create_zone: QuotaExceeded: zone limit is 50"
            " (attempt 7, due since 11:59:00Z)",
            NOW - AGES,
            id="another attempt waits for a worker",
        ),
        pytest.param(
            {"activities": (activity(heartbeat_timeout=60 * SECOND, worker="17@host", attempt=2),)},
            "ActivitySilent create_zone: no heartbeat (attempt 2, last sign of life at 11:59:00Z,"
            " timeout 60 s, worker 17@host)",
            NOW - MINUTE,
            id="silent activity",
        ),
        pytest.param(
            {"operations": (operation(blocked="breaker open.", failure="503", attempt=6),)},
            "NexusBlocked nexus operation payments/charge: endpoint payments-ep is blocked: 503"
            " (breaker open, attempt 6, due since 11:50:00Z)",
            NOW - AGES,
            id="blocked nexus operation",
        ),
        pytest.param(
            {"children": (SICK_CHILD,)},
            "WaitingForChild child workflow PaymentWorkflow [pay-1]: ActivityRetrying charge:"
            " QuotaExceeded: zone limit is 50 (attempt 7, next at 12:00:07Z)",
            NOW - AGES,
            id="stuck child",
        ),
        pytest.param(
            {"execution_at": FUTURE},
            "Delayed OrderWorkflow: delayed (until 13:00:00Z, started at 11:00:00Z)",
            NOW - timedelta(hours=1),
            id="delayed",
        ),
        pytest.param(
            {"execution_expires_at": NOW - AGES, "run_expires_at": NOW - 2 * MINUTE},
            "Overdue OrderWorkflow: open past its execution timeout"
            " (expired at 11:50:00Z, 10 min ago)",
            NOW - AGES,
            id="overdue",
        ),
        pytest.param(
            {},
            "Waiting OrderWorkflow: waits for a timer, a signal or an update",
            None,
            id="waiting",
        ),
        pytest.param(
            {
                "task": task(),
                "activities": (activity("b"), activity("a")),
                "operations": (operation(),),
                "children": (child(of=workflow()),),
            },
            "Waiting OrderWorkflow: waits for its workflow task, activity a and 1 more,"
            " nexus operation charge, child workflow PaymentWorkflow",
            None,
            id="waiting for much",
        ),
    ],
)
def test_a_condition_says_what_is_wrong_and_since_when(
    fields: dict[str, Any], text: str, since: datetime | None
) -> None:
    open_workflow = workflow(**fields)
    assert read(open_workflow) == text
    assert judge(open_workflow).since == since


@pytest.mark.parametrize(
    ("fields", "is_healthy"),
    [
        pytest.param({"task": task(2)}, True, id="second attempt of a workflow task"),
        pytest.param({"task": task(3)}, False, id="third"),
        pytest.param({"activities": (retrying(attempt=2),)}, False, id="second attempt"),
        pytest.param({"activities": (activity(failure="no"),)}, True, id="first, after a reset"),
        pytest.param({"activities": (retrying(failure=None),)}, True, id="without a failure"),
        pytest.param({"activities": (activity(),)}, True, id="no heartbeat timeout"),
        pytest.param(
            {"activities": (silent(90 * SECOND),)},
            True,
            id="silent for 90 % of the heartbeat timeout",
        ),
        pytest.param(
            {"activities": (silent(91 * SECOND),)},
            False,
            id="for more",
        ),
        pytest.param(
            {"activities": (silent(AGES, heartbeat_at=NOW - SECOND),)},
            True,
            id="a heartbeat",
        ),
        pytest.param(
            {"activities": (silent(SECOND, heartbeat_at=NOW - AGES),)},
            True,
            id="the last heartbeat was in an earlier attempt",
        ),
        pytest.param({"operations": (operation(attempt=9),)}, True, id="nexus retries"),
        pytest.param({"execution_at": NOW}, True, id="no longer delayed"),
        pytest.param({"execution_at": FUTURE, "task": task()}, True, id="it runs all the same"),
        pytest.param({"run_expires_at": NOW - MINUTE}, True, id="expired a minute ago"),
        pytest.param({"run_expires_at": NOW - MINUTE - SECOND}, False, id="longer ago"),
        pytest.param({"children": (child(of=workflow()),)}, True, id="parent of a healthy child"),
    ],
)
def test_the_limits_between_healthy_and_not(fields: dict[str, Any], is_healthy: bool) -> None:
    assert judge(workflow(**fields)).reason.is_healthy == is_healthy


@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        pytest.param({"task": task(age=2 * MINUTE)}, set(), id="not for two minutes"),
        pytest.param({"task": task(age=2 * MINUTE + SECOND)}, {ORDERS}, id="for longer"),
        pytest.param({"task": task(2, age=AGES)}, {ORDERS}, id="another attempt"),
        pytest.param({"task": task(age=AGES, is_started=True)}, set(), id="a worker has it"),
        pytest.param({"activities": (untaken(),)}, {ZONES}, id="activity: its own queue"),
        pytest.param({"activities": (activity(),)}, set(), id="activity that a worker has"),
        pytest.param({"activities": (retrying(),)}, set(), id="activity whose next attempt is due"),
        pytest.param({"activities": (OVERLOOKED,)}, {ZONES}, id="activity whose next one was"),
        pytest.param(
            {"activities": (untaken(), untaken()), "task": task(age=AGES)},
            {ORDERS, ZONES},
            id="several",
        ),
        pytest.param({"task": task(age=AGES), "pause": PAUSE}, set(), id="paused anyway"),
        pytest.param(
            {"children": (child(of=workflow(task_queue="pay", task=task(age=AGES))),)},
            {("pay", QueueType.WORKFLOW)},
            id="of a child",
        ),
    ],
)
def test_only_the_queues_of_tasks_that_no_worker_takes_are_described(
    fields: dict[str, Any], needed: set[tuple[str, QueueType]]
) -> None:
    open_workflow = workflow(**fields)
    assert queues_needed(open_workflow, NOW) == needed
    assert (why_open(open_workflow, {}, NOW) is None) == bool(needed)
    polled = dict.fromkeys(needed, queue(SECOND))
    if "pause" not in fields and "activities" not in fields:
        assert judge(open_workflow, polled).reason.is_healthy


@pytest.mark.parametrize(
    ("described", "version", "has_worker"),
    [
        pytest.param(queue(), None, False, id="nobody has polled"),
        pytest.param(queue(71 * SECOND), None, False, id="nobody within 70 seconds"),
        pytest.param(queue(AGES, 70 * SECOND), None, True, id="somebody has"),
        pytest.param(Queue((Poller("17@host", None),)), None, True, id="it is not known when"),
        pytest.param(queue(SECOND), "orders:2", False, id="pinned: unversioned worker"),
        pytest.param(queue(SECOND, version="orders:1"), "orders:2", False, id="another version"),
        pytest.param(queue(SECOND, version="orders:2"), "orders:2", True, id="its version"),
        pytest.param(queue(AGES, version="orders:2"), "orders:2", False, id="its, long ago"),
        pytest.param(queue(SECOND, version="orders:1"), None, True, id="not pinned: any version"),
    ],
)
def test_a_task_has_a_worker_if_one_that_could_take_it_polls(
    described: Queue, version: str | None, has_worker: bool
) -> None:
    open_workflow = workflow(task=task(age=AGES), version=version)
    assert judge(open_workflow, {ORDERS: described}).reason.is_healthy == has_worker


def test_a_missing_worker_is_described_with_the_queue_the_backlog_and_who_polled_last() -> None:
    described = queue(3 * MINUTE, 9 * MINUTE, backlog=3, backlog_age=12 * MINUTE)
    open_workflow = workflow(task=task(age=AGES))
    assert read(open_workflow, {ORDERS: described}) == (
        "NoWorker task queue orders: no worker polls for workflow tasks"
        " (the workflow task due since 11:50:00Z, 3 tasks in the queue, the oldest for 12 min,"
        " last poll at 11:57:00Z by 17@host)"
    )
    assert judge(open_workflow, {ORDERS: described}).since == NOW - AGES


def test_a_missing_worker_of_a_pinned_version_is_named_with_that_version() -> None:
    described = queue(SECOND, version="orders:1", backlog=0)
    open_workflow = workflow(task=task(age=AGES), version="orders:2")
    assert read(open_workflow, {ORDERS: described}) == (
        "NoWorker task queue orders: no worker of version orders:2 polls for workflow tasks"
        " (the workflow task due since 11:50:00Z,"
        " last poll at 11:59:59Z by 17@host of version orders:1)"
    )


def test_an_activity_that_failed_with_its_last_worker_has_none() -> None:
    failed = workflow(activities=(OVERLOOKED,))
    assert read(failed, {ZONES: queue()}) == (
        "NoWorker task queue zones: no worker polls for activities"
        " (create_zone due since 11:50:00Z, last failure: activity Heartbeat timeout)"
    )
    assert judge(failed, {ZONES: queue(SECOND)}).reason is Reason.ACTIVITY_RETRYING


def test_an_activity_needs_its_workflows_version_on_the_workflows_queue_only() -> None:
    other_version = queue(SECOND, version="orders:1")
    here = workflow(version="orders:2", activities=(untaken(task_queue="orders"),))
    elsewhere = workflow(version="orders:2", activities=(untaken(),))
    found = judge(here, {("orders", QueueType.ACTIVITY): other_version})
    assert found.text.startswith(
        "task queue orders: no worker of version orders:2 polls for activities (create_zone due"
    )
    assert judge(elsewhere, {ZONES: other_version}).reason.is_healthy


def test_a_queue_without_workers_decides_although_another_could_not_be_described() -> None:
    open_workflow = workflow(task=task(age=AGES), activities=(untaken(),))
    assert judge(open_workflow, {ZONES: queue()}).reason is Reason.NO_WORKER
    assert why_open(open_workflow, {ZONES: queue(SECOND)}, NOW) is None


@pytest.mark.parametrize("began", [NOW - AGES, None])
def test_of_several_activities_the_oldest_is_named_whatever_their_order(
    began: datetime | None,
) -> None:
    old = retrying("old", activity_id="9", first_scheduled_at=began)
    young = retrying("young", activity_id="10", first_scheduled_at=began and NOW)
    latest = retrying("latest", activity_id="8", first_scheduled_at=None)
    others = (latest,) if began else (young,)
    found = judge(workflow(activities=(young, *others, old)))
    assert found == judge(workflow(activities=(old, young, *others)))
    assert found.text.startswith("old: ")
    assert found.text.endswith("2 more such)")


def test_children_are_asked_about_only_if_no_earlier_reason_applies() -> None:
    children = (child("b"), child("a"))
    assert [each.workflow_id for each in children_needed(workflow(children=children), {}, NOW)] == [
        "a",
        "b",
    ]
    retries = workflow(children=children, activities=(retrying(),))
    assert children_needed(retries, {}, NOW) == ()
    assert children_needed(workflow(children=children, task=task(age=AGES)), {}, NOW) == ()
    assert children_needed(workflow(children=(SICK_CHILD, child("z"))), {}, NOW) == ()


def test_a_parent_is_judged_once_a_stuck_child_is_known_or_all_are_healthy() -> None:
    healthy = child("pay-0", workflow())
    assert why_open(workflow(children=(healthy, child("pay-2"))), {}, NOW) is None
    sick = workflow(children=(healthy, SICK_CHILD, child("pay-2")))
    assert judge(sick).reason is Reason.WAITING_FOR_CHILD
    assert judge(workflow(children=(healthy,))).reason is Reason.WAITING


def test_a_parent_of_more_children_than_are_shown_is_never_healthy() -> None:
    many = workflow(children=(child("pay-0", workflow()),), has_more_children=True)
    assert why_open(many, {}, NOW) is None
    assert judge(replace(many, children=(SICK_CHILD,))).reason is Reason.WAITING_FOR_CHILD


@pytest.mark.parametrize(
    ("recorded", "fields", "holds"),
    [
        pytest.param(
            {"run_id": "run-0", **FOR_CHILD}, {"children": (child(),)}, False, id="another run"
        ),
        pytest.param({}, {"children": (child(),)}, False, id="not retrying any more"),
        pytest.param(NO_WORKER, {"task": task(age=AGES)}, True, id="a queue is not known"),
        pytest.param(NO_WORKER, {"children": (child(),)}, False, id="no task waits"),
        pytest.param(
            {"reason": Reason.OVERDUE},
            {"run_expires_at": NOW - AGES, "children": (child(),)},
            True,
            id="another child may matter more",
        ),
        pytest.param(FOR_CHILD, {"task": task(age=AGES)}, False, id="no children"),
        pytest.param(FOR_CHILD, {"children": (child("pay-1"),)}, True, id="child not asked"),
        pytest.param(FOR_CHILD, {"children": (child("pay-2"),)}, False, id="child has ended"),
        pytest.param(
            FOR_CHILD,
            {"children": (child("pay-1", workflow()), child("pay-2"))},
            False,
            id="child is healthy",
        ),
        pytest.param(
            {**FOR_CHILD, "text": "child workflow Pay [[redacted]]: Delayed"},
            {"children": (child("pay-1", workflow()),), "has_more_children": True},
            True,
            id="it is not clear which child",
        ),
    ],
)
def test_doubt_leaves_what_may_still_hold(
    recorded: dict[str, Any], fields: dict[str, Any], holds: bool
) -> None:
    known = stuck_for(**{"run_id": "run-1", **recorded})
    undecided = workflow(**fields)
    assert why_open(undecided, {}, NOW) is None
    assert may_hold(known, undecided, {}, NOW) == holds


def test_an_answer_is_judged_as_of_the_time_it_was_given() -> None:
    silence = workflow(activities=(silent(91 * SECOND),))
    assert judge(silence).reason is Reason.ACTIVITY_SILENT
    early = replace(silence, described_at=NOW - 2 * SECOND)
    assert judge(early).reason is Reason.WAITING
    assert judge(workflow(children=(child(of=early),))).reason is Reason.WAITING


@pytest.mark.parametrize(
    ("polled", "asked", "expected"),
    [
        pytest.param((AGES,), 9 * MINUTE + 50 * SECOND, Reason.WAITING, id="it was polled then"),
        pytest.param((), 7 * MINUTE, Reason.NO_WORKER, id="it was not, and the task waited"),
        pytest.param((), 9 * MINUTE, None, id="the task had not waited for long"),
    ],
)
def test_a_queue_is_judged_as_of_the_time_it_was_described(
    polled: Sequence[timedelta], asked: timedelta, expected: Reason | None
) -> None:
    described = queue(*polled, described_at=NOW - asked)
    found = why_open(workflow(task=task(age=AGES)), {ORDERS: described}, NOW)
    assert (found and found.reason) is expected


def test_a_childs_own_children_are_not_followed() -> None:
    mother = workflow(children=(SICK_CHILD,))
    assert judge(workflow(children=(child("pay-0", mother),))).reason is Reason.WAITING


def test_a_child_whose_queue_could_not_be_described_leaves_its_parent_unjudged() -> None:
    untaken_child = workflow(task_queue="pay", task=task(age=AGES))
    parent = workflow(children=(child(of=untaken_child),))
    assert why_open(parent, {}, NOW) is None
    assert read(parent, {("pay", QueueType.WORKFLOW): queue()}).startswith(
        "WaitingForChild child workflow PaymentWorkflow [pay-1]: NoWorker task queue pay: no worker"
    )
