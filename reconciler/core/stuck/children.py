"""Children: a workflow may be open because a child of it is stuck."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from reconciler.core.stuck.cause import CAUSE_LIMIT, stable_name
from reconciler.core.stuck.condition import Condition, Reason
from reconciler.core.stuck.wording import condition, name
from reconciler.core.stuck.workflow import OpenWorkflow, PendingChild
from reconciler.core.text import one_line

#: A child and why it is open; None if that is not known.
Judged: TypeAlias = tuple[PendingChild, Condition | None]


def in_order(children: Iterable[PendingChild]) -> Sequence[PendingChild]:
    """The children in an order that is the same in each pass; Temporal's is not."""
    return sorted(children, key=lambda child: child.workflow_id)


# Not an id with brackets, or one that was cut.
_NAMED = re.compile(r"child workflow [^\[\]]* \[([^\[\]]*[^\[\]…])\]: ")


def named_child(text: str) -> str | None:
    """The id of the child that the text of a condition names; None if that is not clear."""
    found = _NAMED.match(text)
    return found and found[1]


def waiting_for_child(children: Sequence[Judged], workflow: OpenWorkflow) -> Condition | None:
    """The first child that is not healthy.

    Whether the parent waits for it, and what for, only its code knows.
    """
    for child, why in children:
        if why and not why.reason.is_healthy:
            return _names(child, why, workflow)
    return None


def _names(child: PendingChild, why: Condition, workflow: OpenWorkflow) -> Condition:
    subject = f"child workflow {name(child.workflow_type)}"
    found = condition(
        Reason.WAITING_FOR_CHILD,
        f"{subject} [{name(child.workflow_id)}]",
        f"{why.reason} {why.text}",
        since=why.since,
    )
    cause = stable_name(f"{subject}: {why.reason} {why.cause}", workflow.workflow_id)
    return replace(found, cause=one_line(cause, CAUSE_LIMIT))
