"""Round trips, Temporal's version, and the namespace's retention. Pure."""

from __future__ import annotations

from datetime import timedelta

from reconciler.core.text import duration, one_line
from reconciler.doctor.findings import Finding, ok, warning
from reconciler.temporal.client.namespace import Namespace
from reconciler.temporal.client.server import LOWEST, is_too_old

NAMESPACE, TEMPORAL = "namespace", "temporal"
#: A longer round trip makes every pass slow.
SLOW = timedelta(seconds=1)
#: With less, a weekend without the reconciler loses outcomes.
SHORT_RETENTION = timedelta(days=1)


def connected(check: str, message: str, round_trip: timedelta | None) -> Finding:
    """A connection, with its round-trip time if that is known."""
    if round_trip is None:
        return ok(check, message)
    text = f"{message}, round trip {duration(round_trip)}"
    if round_trip > SLOW:
        return warning(check, text, "run the reconciler near its servers: every call takes as long")
    return ok(check, text)


def temporal(target: str, version: str | None, round_trip: timedelta | None) -> Finding:
    """The connection to Temporal, and the server's version if it reports one."""
    if not version:
        return connected(TEMPORAL, f"Temporal at {target} does not report its version", round_trip)
    text = f"Temporal {one_line(version, 40)} at {target}"
    if not is_too_old(version):
        return connected(TEMPORAL, text, round_trip)
    lowest = ".".join(map(str, LOWEST))
    text += f" is older than {lowest}, and does not report everything a pass needs"
    return warning(TEMPORAL, text, f"upgrade Temporal to {lowest} or newer (docs/temporal.md)")


def namespace(found: Namespace) -> Finding:
    """The namespace, and how long it keeps closed workflows."""
    text = f"{found.name}, keeps closed workflows for {duration(found.retention)}"
    if found.archives_history:
        text += ", archives their histories"
    elif found.retention < SHORT_RETENTION:
        fix = "set a longer retention: `temporal operator namespace update --retention 72h`"
        return warning(NAMESPACE, f"{text}: an outage of that length loses outcomes", fix)
    return ok(NAMESPACE, text)
