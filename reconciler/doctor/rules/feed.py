"""Whether `run` can follow the closings feed, and as often as it should. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from reconciler.core.errors import ReconcilerError
from reconciler.core.feed.slow_poll import find_slow_poll
from reconciler.core.text import duration, plural
from reconciler.doctor.findings import Finding, ok, warning

FEED = "feed"


def feed_off() -> Finding:
    """The operator has chosen so."""
    return ok(FEED, "RECONCILER_FEED_INTERVAL is 0: `run` finds what has closed in its next pass")


def feed(
    listed: Mapping[str, ReconcilerError | None], interval: timedelta, limits: Mapping[str, float]
) -> list[Finding]:
    """A warning for each namespace whose closings cannot be listed, and for polls that take longer.

    `listed`: what was wrong, by namespace. `limits`: list calls per second by setting; 0: any.
    """
    bad = [_not_listed(name, error) for name, error in listed.items() if error is not None]
    if slow := find_slow_poll(len(listed), interval, limits):
        takes, limit = duration(slow.takes), f"{slow.setting}={slow.rps:g}"
        text = f"a poll of {slow.lists} list calls takes {takes} with {limit}"
        bad.append(warning(FEED, text, slow.fix))
    if bad:
        return bad
    return [ok(FEED, f"closings of {plural(len(listed), 'namespace')} can be listed")]


def _not_listed(namespace: str, error: ReconcilerError) -> Finding:
    text = f"`run` cannot follow what closes in namespace {namespace!r}: {error.problem}"
    fix = error.fix or "check visibility; until then passes over every row find what has closed"
    return warning(FEED, text, fix)
