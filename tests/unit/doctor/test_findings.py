"""How findings add up, and what is made of an error's text."""

from __future__ import annotations

import pytest

from reconciler.doctor.findings import (
    LIMIT,
    Examination,
    Finding,
    Level,
    failure,
    not_checked,
    ok,
    refused,
    warning,
)
from reconciler.settings.display import ResolvedSetting


@pytest.mark.parametrize(
    ("findings", "outcome"),
    [
        ([], Level.OK),
        ([ok("a", "")], Level.OK),
        ([ok("a", ""), not_checked("b", "")], Level.OK),
        ([ok("a", ""), warning("b", "", "")], Level.WARNING),
        ([failure("a", "", ""), warning("b", "", ""), not_checked("c", "")], Level.FAILURE),
    ],
    ids=["none", "ok", "skipped", "warning", "failure"],
)
def test_the_outcome_is_the_worst_of_what_was_found(
    findings: list[Finding], outcome: Level
) -> None:
    assert Examination([], findings).outcome is outcome


def test_the_json_has_everything() -> None:
    settings = [ResolvedSetting("RECONCILER_GRACE", "2m", ".env")]

    assert Examination(settings, [ok("a", "fine"), failure("b", "bad", "mend it")]).as_json() == {
        "outcome": "failure",
        "counts": {"ok": 1, "warning": 0, "failure": 1, "skipped": 0},
        "settings": [{"name": "RECONCILER_GRACE", "value": "2m", "source": ".env"}],
        "findings": [
            {"check": "a", "level": "ok", "message": "fine", "mend": None},
            {"check": "b", "level": "failure", "message": "bad", "mend": "mend it"},
        ],
    }


@pytest.mark.parametrize(
    ("text", "message", "mend"),
    [
        ("cannot read t: it is away: check DATABASE_URL", "cannot read t: it is away", "check"),
        ("no table t: set RECONCILER_TABLE, or create it", "no table t", "set RECONCILER_TABLE"),
        ("role a may not: GRANT SELECT (id) ON t TO a", "role a may not", "GRANT SELECT (id)"),
        ("cannot read t: relation t does not exist", "cannot read t: relation t", "look there"),
        ("no column a: set A (empty: there is none), or B", "no column a", "set A (empty: there"),
        ("it says: use c: set A", "it says: use c", "set A"),
        ("rows hidden from a: CREATE POLICY p ON t", "rows hidden from a", "CREATE POLICY p"),
        (f"{'long ' * 200}: set A", "long long", "set A"),
        ("something else", "something else", "look there"),
        ("two\nlines: check it", "two lines", "check it"),
    ],
)
def test_an_errors_advice_is_told_apart_from_what_is_wrong(
    text: str, message: str, mend: str
) -> None:
    finding = refused("table", text, "look there")

    assert (finding.check, finding.level) == ("table", Level.FAILURE)
    assert finding.message.startswith(message)
    assert finding.mend.startswith(mend)
    assert len(finding.message) <= LIMIT
