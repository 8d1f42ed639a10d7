"""Whatever Temporal says, there is a verdict, in one bounded line."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, get_type_hints

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.stuck.cause import CAUSE_LIMIT
from reconciler.core.stuck.condition import Reason
from reconciler.core.stuck.why import children_needed, queues_needed, why_open
from reconciler.core.stuck.wording import TEXT_LIMIT
from reconciler.core.stuck.workflow import (
    ActivityState,
    OpenWorkflow,
    Pause,
    PendingActivity,
    PendingChild,
    PendingOperation,
    PendingTask,
    Poller,
    Queue,
    QueueKey,
)
from tests.support.factories import NOW

LONG = "9x" * 1_500
EXTREMES = [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
DAY = st.timedeltas(timedelta(0), timedelta(days=1)).map(NOW.__add__)
LENGTHS = st.timedeltas(timedelta(0), timedelta(days=40_000))
#: A strategy for the values of each type.
OF: dict[Any, st.SearchStrategy[Any]] = {
    str: st.sampled_from(["", "orders", "a\nb\u202e\x00\ud800"])
    | st.text()
    | st.builds(lambda: LONG),
    datetime: DAY | st.sampled_from(EXTREMES),
    timedelta: LENGTHS,
    int: st.integers(0, 2**63),
    bool: st.booleans(),
    ActivityState: st.sampled_from(ActivityState),
}


def build(kind: type, **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Any value of a dataclass."""
    hints = get_type_hints(kind)
    others = {each.name: of(hints[each.name]) for each in fields(kind) if each.name not in given}
    return st.builds(kind, **others, **given)


def of(hint: Any) -> st.SearchStrategy[Any]:
    options = getattr(hint, "__args__", (hint,))
    known = [st.none() if option is type(None) else OF[option] for option in options]
    return st.one_of(known)


def several(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, max_size=2).map(tuple)


OF[Pause] = build(Pause)
OF[PendingTask] = build(PendingTask)
ACTIVITIES = several(build(PendingActivity))
OPERATIONS = several(build(PendingOperation))


def workflows(children: st.SearchStrategy[Any]) -> st.SearchStrategy[OpenWorkflow]:
    return build(
        OpenWorkflow,
        activities=ACTIVITIES,
        operations=OPERATIONS,
        children=several(children),
        has_more_children=st.just(False),
    )


CHILDREN = build(PendingChild, workflow=st.none() | workflows(st.just(PendingChild("a", "B"))))
QUEUES = build(Queue, pollers=several(build(Poller)), described_at=st.none())


@given(workflows(CHILDREN), st.data(), DAY)
def test_every_open_workflow_is_judged_once_all_is_answered(
    workflow: OpenWorkflow, data: st.DataObject, now: datetime
) -> None:
    queues: dict[QueueKey, Queue] = {
        each: data.draw(QUEUES) for each in sorted(queues_needed(workflow, now))
    }
    found = why_open(workflow, queues, now)
    if found is None:
        assert children_needed(workflow, queues, now)
        return
    assert len(found.text) <= TEXT_LIMIT
    assert found.text.splitlines() == [found.text]
    assert len(found.cause) <= CAUSE_LIMIT
    assert "\n" not in found.cause
    assert (found.cause == "") == (found.reason is Reason.WAITING)
    assert not children_needed(workflow, queues, now) or found.reason is Reason.WAITING


@given(workflows(CHILDREN), DAY)
def test_what_cannot_be_asked_is_never_said(workflow: OpenWorkflow, now: datetime) -> None:
    found = why_open(workflow, {}, now)
    if queues_needed(workflow, now):
        assert found is None or found.reason is Reason.WAITING_FOR_CHILD
    assert found is None or found.reason is not Reason.NO_WORKER
