"""What `doctor` finds: one line per check, with the problem and how to fix it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from reconciler.core.errors import ReconcilerError
from reconciler.core.text import flat, one_line
from reconciler.settings.display import ResolvedSetting

#: Characters of a message, which may quote a server.
LIMIT = 600


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    #: Passes work, but something needs attention.
    WARNING = "warning"
    #: A pass would be refused, or would do harm.
    FAILURE = "failure"
    #: Not checked: what the check needs is missing, and another finding says why.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, and how to fix the problem."""

    check: str
    level: Level
    message: str
    #: Empty where there is nothing to fix.
    fix: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether passes do not work, or nobody knows."""
        return self.level in (Level.FAILURE, Level.SKIPPED)

    def as_json(self) -> Mapping[str, Any]:
        """The finding as `--json` prints it."""
        return {**asdict(self), "fix": self.fix or None}


def ok(check: str, message: str) -> Finding:
    """A check that found no problem."""
    return Finding(check, Level.OK, message)


def warning(check: str, message: str, fix: str) -> Finding:
    """A problem that keeps no pass from working."""
    return _bad(check, Level.WARNING, message, fix)


def failure(check: str, message: str, fix: str) -> Finding:
    """A problem that keeps every pass from working, or should."""
    return _bad(check, Level.FAILURE, message, fix)


def not_checked(check: str, why: str) -> Finding:
    """A check that another check's failure made impossible."""
    return Finding(check, Level.SKIPPED, f"not checked: {why}")


def not_measurable(check: str, why: str) -> Finding:
    """A check that has nothing to measure, which is no problem."""
    return Finding(check, Level.SKIPPED, f"not measurable: {why}")


def _bad(check: str, level: Level, message: str, fix: str) -> Finding:
    return Finding(check, level, one_line(message, LIMIT), flat(fix))


def of_error(check: str, error: ReconcilerError, fix: str = "") -> Finding:
    """A failure with an error's own text and fix; `fix` is for errors without one."""
    return failure(check, error.problem, error.fix or fix)


@dataclass(frozen=True, slots=True)
class Examination:
    """All findings, in the order in which they are printed."""

    settings: Sequence[ResolvedSetting]
    findings: Sequence[Finding]

    @property
    def outcome(self) -> Level:
        """The worst level found; `SKIPPED` counts as `OK`."""
        levels = {finding.level for finding in self.findings}
        return next((bad for bad in (Level.FAILURE, Level.WARNING) if bad in levels), Level.OK)

    def count(self, level: Level) -> int:
        """How many findings have this level."""
        return sum(finding.level is level for finding in self.findings)

    def as_json(self) -> Mapping[str, Any]:
        """The object that `--json` prints."""
        return {
            "outcome": self.outcome,
            "counts": {level: self.count(level) for level in Level},
            "settings": [asdict(setting) for setting in self.settings],
            "findings": [finding.as_json() for finding in self.findings],
        }
