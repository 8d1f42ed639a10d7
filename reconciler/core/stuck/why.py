"""Why a workflow is open: the first reason that applies, and what has to be asked before that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias

from reconciler.core.stuck.condition import Condition
from reconciler.core.stuck.workflow import OpenWorkflow, PendingChild, Queue, QueueType

#: The name of a task queue and what it holds.
QueueKey: TypeAlias = tuple[str, QueueType]


def why_open(
    workflow: OpenWorkflow, queues: Mapping[QueueKey, Queue], now: datetime
) -> Condition | None:
    """Why it is open; None if an answer is missing on which that depends.

    `queues` are those that were described; `now` is Temporal's time, as near as it is known.
    """
    raise NotImplementedError


def queues_needed(workflow: OpenWorkflow, now: datetime) -> frozenset[QueueKey]:
    """The queues to describe before `why_open` can judge it and those of its children asked so far.

    Empty for most workflows: only a task that waits for its first worker needs its queue.
    """
    raise NotImplementedError


def children_needed(
    workflow: OpenWorkflow, queues: Mapping[QueueKey, Queue], now: datetime
) -> tuple[PendingChild, ...]:
    """The children to ask about before `why_open` can judge it; empty if an earlier reason applies.

    Put the answers into `PendingChild.workflow`, leave out children that have ended, and ask again
    for the queues that they need. The order is the same in each pass.
    """
    raise NotImplementedError
