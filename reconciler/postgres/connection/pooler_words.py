"""What poolers say to those they do not let through, and how to mend it.

PgBouncer refuses everything under one SQLSTATE, that of a broken protocol, or just hangs up with a
last word. So it is known by its words, which have been the same for many versions.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pooler's refusal, known by some of its words."""

    words: str
    #: How to mend it; `{source}` is where the URL comes from.
    remedy: str
    #: Whether it is of no use to try again.
    lasts: bool


_CHECK = "check {source}"

_REFUSALS = (
    Refusal(
        "unsupported startup parameter",
        "the pooler passes no parameters on, take it out of {source} (a schema goes into"
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
        "the pooler had no server connection to lend in time, raise its default_pool_size unless"
        " it is paused or PostgreSQL is away",
        lasts=False,
    ),
    Refusal("does not exist", _CHECK, lasts=True),  # the database, as the server calls it
    Refusal("no such database", _CHECK, lasts=True),
    Refusal("no such user", _CHECK, lasts=True),
    Refusal("authentication failed", _CHECK, lasts=True),
)


def known_refusal(sqlstate: str, text: str) -> Refusal | None:
    """The refusal of a pooler, if the error is one. PostgreSQL's own are no connection errors."""
    if not sqlstate.startswith("08"):
        return None
    return next((each for each in _REFUSALS if each.words in text), None)
