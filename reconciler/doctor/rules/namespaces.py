"""The namespaces that rows name: can a pass use them, and what is their retention? Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.core.model import Unknown
from reconciler.core.text import plural
from reconciler.doctor.findings import Finding, Level, ok, warning
from reconciler.doctor.rules.connection import NAMESPACE, namespace
from reconciler.doctor.rules.table import is_near
from reconciler.postgres.diagnose.sample import NamespaceRows
from reconciler.temporal.client.namespace import Namespace

NAMESPACES = "namespaces"


@dataclass(frozen=True, slots=True)
class RowsOfNamespace:
    """The rows of a namespace, and what Temporal says about it."""

    rows: NamespaceRows
    namespace: Namespace | Unknown

    @property
    def retention(self) -> timedelta | None:
        """How long it keeps closed workflows; None if it cannot be used."""
        return None if isinstance(self.namespace, Unknown) else self.namespace.retention

    def is_near(self, now: datetime) -> bool:
        """Whether Temporal may be about to forget the outcome of its oldest row."""
        if self.retention is None or self.rows.oldest is None:
            return False
        return is_near(now - self.rows.oldest, self.retention)


def namespaces(found: Sequence[RowsOfNamespace], own: str) -> list[Finding]:
    """A warning for each that a pass cannot use, or that keeps too little; one line for the rest.

    `own` is the connection's, which has its own check. Nothing here is a failure: a pass skips the
    rows that it cannot judge.
    """
    findings = [_check(each, own) for each in found]
    good = [each.message for each in findings if each.level is Level.OK]
    bad = [each for each in findings if each.level is not Level.OK]
    if bad and not good:
        return bad
    return [ok(NAMESPACES, "; ".join(good) or "no row is running"), *bad]


def missing_rows(missing: int, asked: int) -> Finding:
    """Temporal lacks some of the young rows' workflows, but not all: the address is right."""
    text = (
        f"{missing} of {asked} running rows with run ids that were looked up are not in it, though "
        "younger than the retention: deleted, or in another cluster or namespace"
    )
    fix = (
        "if workflows are in two places, run a reconciler for each, with its rows by "
        "RECONCILER_WHERE; until then not with RECONCILER_MISSING=fail"
    )
    return warning(NAMESPACE, text, fix)


def _check(found: RowsOfNamespace, own: str) -> Finding:
    rows = f"{plural(found.rows.count, 'running row')} of"
    if isinstance(found.namespace, Unknown):
        text = f"{rows} {found.rows.name!r} cannot be judged: {found.namespace.cause}"
        return warning(NAMESPACES, text, "correct it in the rows, or allow access")
    finding = namespace(found.namespace)
    text = f"{rows} {finding.message}"
    if found.rows.name == own or finding.level is Level.OK:
        return ok(NAMESPACES, text)
    return warning(NAMESPACES, text, finding.fix)
