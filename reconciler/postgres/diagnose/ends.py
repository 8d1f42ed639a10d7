"""The ends that a pass may write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.core.model import CloseStatus
from reconciler.core.policy import StatusValues

#: Characters of a message about a workflow that Temporal does not know.
_SHORT = 60


@dataclass(frozen=True, slots=True)
class End:
    """An end that a pass may write."""

    #: For people to read.
    name: str
    status: str
    #: Temporal does not know the workflow, so that there is no close time.
    unknown: bool
    message: str | None
    evidence: str


def possible_ends(statuses: StatusValues, limit: int, *, fails_missing: bool) -> Sequence[End]:
    """One end per value that a pass writes, with a message of `limit` characters.

    `fails_missing`: also that of a row whose workflow Temporal does not know.
    """
    ends = dict[str, End]()
    for status in CloseStatus:
        if (value := statuses.of(status)) is None:
            continue
        message = None if status is CloseStatus.COMPLETED else "x" * limit
        ends.setdefault(value, End(value, value, False, message, status.value))  # noqa: FBT003
    if fails_missing:
        name, message = f"{statuses.failed} (not in Temporal)", "x" * min(limit, _SHORT)
        ends[name] = End(name, statuses.failed, True, message, "NOT_FOUND")  # noqa: FBT003
    return list(ends.values())
