"""How a condition reads: `subject: what is wrong (what is known about its course)`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from reconciler.core.stuck.cause import CAUSE_LIMIT, stable, stable_name
from reconciler.core.stuck.condition import Condition, Reason
from reconciler.core.text import one_line

#: Characters of a condition's text; as many as of an error message by default.
TEXT_LIMIT = 2_000
#: Characters of a name, an id or a reason within a text: their owners may have chosen anything.
NAME_LIMIT = 200


def condition(
    reason: Reason,
    subject: str,
    wrong: str,
    course: Iterable[str | None] = (),
    *,
    since: datetime | None,
    failure: str = "",
    own: tuple[str, ...] = (),
) -> Condition:
    """A condition in words.

    `subject` and `wrong` hold our words and names; `failure` is what others wrote, of any
    length. Without either it reads "failed". `own`: the ids of the workflow. The course is kept,
    however long the rest is.
    """
    known = ", ".join(filter(None, course))
    ending = one_line(f"({known})", TEXT_LIMIT // 2) if known else ""
    head = _joined(subject, wrong)
    said = one_line(failure, TEXT_LIMIT) or ("" if wrong else "failed")
    text = one_line(_joined(head, said), TEXT_LIMIT - len(ending) - 1)
    cause = _joined(stable_name(one_line(head, TEXT_LIMIT), *own), stable(said, *own))
    return Condition(reason, f"{text} {ending}".rstrip(), since, one_line(cause, CAUSE_LIMIT))


def name(text: str) -> str:
    """A name or an id as part of a sentence."""
    return one_line(text, NAME_LIMIT)


def moment(at: datetime, now: datetime) -> str:
    """A point in time, in UTC: the time of day if it is today, otherwise with the date."""
    at = at.astimezone(UTC)
    if at.date() == now.astimezone(UTC).date():
        return f"{at:%H:%M:%SZ}"
    return f"{at:%Y-%m-%d %H:%M:%SZ}"


def at(word: str, time: datetime | None, now: datetime) -> str | None:
    """Such as "next at 12:03:07Z"; None without a time."""
    return None if time is None else f"{word} {moment(time, now)}"


def labelled(word: str, text: str) -> str | None:
    """Such as "by ops@example.com"; None without a text."""
    line = name(text)
    return f"{word} {line}" if line else None


def _joined(*parts: str) -> str:
    return ": ".join(filter(None, parts))
