"""The namespaces that rows name: whether they are there, and for how long they keep what closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from reconciler.core.model import Unknown
from reconciler.core.text import one_line, plural
from reconciler.doctor.findings import LIMIT, Finding, Level, ok, warning
from reconciler.doctor.rules import connection as judge
from reconciler.postgres.diagnose.sample import NamespaceRows
from reconciler.temporal.client.namespace import Namespace

NAMESPACES = "namespaces"


@dataclass(frozen=True, slots=True)
class Found:
    """A namespace that rows are of, and what Temporal says about it."""

    rows: NamespaceRows
    namespace: Namespace | Unknown

    @property
    def retention(self) -> timedelta | None:
        """For how long it keeps what has closed, if it can be used."""
        return None if isinstance(self.namespace, Unknown) else self.namespace.retention

    def is_near(self, now: datetime) -> bool:
        """Whether its oldest row is so old that its outcome may be about to be lost."""
        if self.retention is None or self.rows.oldest is None:
            return False
        return judge.is_near(now - self.rows.oldest, self.retention)


def namespaces(found: Sequence[Found], own: str) -> list[Finding]:
    """A line for each that a pass cannot use, or that keeps too little, and one for all others.

    `own` is the connection's, which has been judged already. Nothing here is a failure: a pass
    leaves the rows that it cannot judge, and goes on with the others.
    """
    judged = [_judged(each, own) for each in found]
    well = [each.message for each in judged if each.level is Level.OK]
    wrong = [each for each in judged if each.level is not Level.OK]
    if well or not wrong:
        wrong.insert(0, ok(NAMESPACES, "; ".join(well) or "no row is running"))
    return wrong


def _judged(found: Found, own: str) -> Finding:
    of_it = f"{plural(found.rows.count, 'running row')} of"
    if isinstance(found.namespace, Unknown):
        text = f"{of_it} {found.rows.name!r} cannot be judged: {found.namespace.cause}"
        return warning(NAMESPACES, one_line(text, LIMIT), "correct it in the rows, or allow access")
    finding = replace(judge.namespace(found.namespace), check=NAMESPACES)
    finding = replace(finding, message=f"{of_it} {finding.message}")
    return ok(NAMESPACES, finding.message) if found.rows.name == own else finding
