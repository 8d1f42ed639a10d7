"""What is wrong between targets, each of which may be fine by itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.doctor.findings import Finding, failure, ok, warning

LIMITS, ROWS = "limits", "rows"


@dataclass(frozen=True, slots=True)
class Limits:
    """What limits the calls of a target per second, by setting; 0: no limit."""

    target: str
    #: Temporal's address and the namespace.
    place: tuple[str, str]
    limits: Mapping[str, float]


def limits(targets: Sequence[Limits]) -> Sequence[Finding]:
    """Whether targets that share a namespace, and so its limits, have the same ones."""
    findings = []
    for place in dict.fromkeys(each.place for each in targets):
        sharing = [each for each in targets if each.place == place]
        for name in sharing[0].limits:
            given = {each.target: each.limits[name] for each in sharing}
            if len(set(given.values())) > 1:
                findings.append(_differing(place, name, given))
    return findings or [ok(LIMITS, "targets of one namespace have the same")]


def _differing(place: tuple[str, str], name: str, given: Mapping[str, float]) -> Finding:
    address, namespace = place
    values = ", ".join(f"{value:g} in {target}" for target, value in given.items())
    lowest = min(value for value in given.values() if value)
    text = f"targets share namespace {namespace!r} at {address}, and {name} is {values}"
    return warning(
        LIMITS, f"{text}: for `run` the lowest counts, {lowest:g}", "set it once, above the targets"
    )


def rows(pairs: Sequence[tuple[str, str]]) -> Sequence[Finding]:
    """That no two targets, though their URLs differ, select the same rows; `pairs` do."""
    return [
        failure(
            ROWS,
            f"the targets {one} and {other} select the same rows: their URLs lead to one database",
            "remove one, or give it another table, status column, running values or where",
        )
        for one, other in pairs
    ] or [ok(ROWS, "no two targets select the same")]
