"""What the doctor says: a line per check, what is wrong with it and how to mend it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from reconciler.core.text import flat, one_line
from reconciler.settings.display import ResolvedSetting

# How our own errors begin what is to be done, after a colon; what follows others is no advice.
_ADVICE = re.compile(
    r"(.*): ((?:check|set|run|GRANT|CREATE POLICY|lower|point|use|wait|allow|connect|renew|turn)"
    r" .*)",
    re.DOTALL,
)
#: Characters of a message that may quote a server's words.
LIMIT = 600


class Level(StrEnum):
    """What a finding means for those who rely on the reconciler."""

    OK = "ok"
    #: It works, and something will hurt, or does so already.
    WARNING = "warning"
    #: A pass would be refused, or would do harm.
    FAILURE = "failure"
    #: Nothing is known: what it takes to check is missing, and that is told by another finding.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: how it went, and how to mend what is wrong."""

    check: str
    level: Level
    message: str
    #: Empty where there is nothing to mend.
    mend: str = ""

    def as_json(self) -> Mapping[str, Any]:
        """The finding as `--json` prints it."""
        return {
            "check": self.check,
            "level": self.level.value,
            "message": self.message,
            "mend": self.mend or None,
        }


def ok(check: str, message: str) -> Finding:
    """Nothing to mend."""
    return Finding(check, Level.OK, message)


def warning(check: str, message: str, mend: str) -> Finding:
    """A pass works all the same."""
    return Finding(check, Level.WARNING, message, mend)


def failure(check: str, message: str, mend: str) -> Finding:
    """No pass works, or none should."""
    return Finding(check, Level.FAILURE, message, mend)


def not_checked(check: str, why: str) -> Finding:
    """No second failure: that of another check is the reason."""
    return Finding(check, Level.SKIPPED, f"not checked: {why}")


def not_measurable(check: str, why: str) -> Finding:
    """Nothing is there that it could be told by, and that is as it should be."""
    return Finding(check, Level.SKIPPED, f"not measurable: {why}")


def refused(check: str, text: str, mend: str, level: Level = Level.FAILURE) -> Finding:
    """What one of our own errors says, which ends with what to do; `mend` where it does not."""
    if advised := _ADVICE.fullmatch(text):
        text, mend = advised[1], advised[2]
    return Finding(check, level, one_line(text, LIMIT), flat(mend))


@dataclass(frozen=True, slots=True)
class Examination:
    """All that has been found, in the order in which it is told."""

    settings: Sequence[ResolvedSetting]
    findings: Sequence[Finding]

    @property
    def outcome(self) -> Level:
        """The worst that was found. What could not be checked counts as little as what is well."""
        levels = {finding.level for finding in self.findings}
        return next((bad for bad in (Level.FAILURE, Level.WARNING) if bad in levels), Level.OK)

    def count(self, level: Level) -> int:
        """How many findings are of this level."""
        return sum(finding.level is level for finding in self.findings)

    def as_json(self) -> Mapping[str, Any]:
        """The object that `--json` prints."""
        return {
            "outcome": self.outcome.value,
            "counts": {level.value: self.count(level) for level in Level},
            "settings": [setting.as_json() for setting in self.settings],
            "findings": [finding.as_json() for finding in self.findings],
        }
