"""Known refusals of poolers, and how to fix them.

PgBouncer uses one SQLSTATE for all refusals, that of a broken protocol, or closes the connection
with a message. So refusals are recognised by their text, which has been stable for many versions.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pooler's refusal, recognised by part of its text."""

    text: str
    #: What to do about it; `{source}` is where the URL comes from.
    fix: str
    #: Whether trying again is pointless.
    lasts: bool


_CHECK = "check {source}"

_REFUSALS = (
    Refusal(
        "unsupported startup parameter",
        "the pooler forwards no parameters, take it out of {source} (a schema goes into"
        " RECONCILER_TABLE)",
        lasts=True,
    ),
    Refusal(
        "statement pooling mode",
        "set the pooler's pool_mode to transaction or session",
        lasts=True,
    ),
    Refusal(
        "query_wait_timeout",
        "raise the pooler's default_pool_size, unless it is paused or PostgreSQL is unreachable",
        lasts=False,
    ),
    Refusal("does not exist", _CHECK, lasts=True),  # the server's text for a missing database
    Refusal("no such database", _CHECK, lasts=True),
    Refusal("no such user", _CHECK, lasts=True),
    Refusal("authentication failed", _CHECK, lasts=True),
)


def known_refusal(sqlstate: str, text: str) -> Refusal | None:
    """The refusal of a pooler, if the error is one. PostgreSQL's own have other codes."""
    if not sqlstate.startswith("08"):
        return None
    return next((each for each in _REFUSALS if each.text in text), None)
