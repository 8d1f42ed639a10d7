"""How findings add up, and how an error becomes one."""

from __future__ import annotations

import pytest

from reconciler.core.errors import DatabaseUnfit
from reconciler.doctor.findings import (
    Examination,
    Finding,
    Level,
    failure,
    not_checked,
    of_error,
    ok,
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
def test_the_outcome_is_the_worst_level(findings: list[Finding], outcome: Level) -> None:
    assert Examination([], findings).outcome is outcome


def test_the_json_of_an_examination() -> None:
    settings = [ResolvedSetting("RECONCILER_GRACE", "2m", ".env")]

    assert Examination(settings, [ok("a", "fine"), failure("b", "bad", "fix it")]).as_json() == {
        "outcome": "failure",
        "counts": {"ok": 1, "warning": 0, "failure": 1, "skipped": 0},
        "settings": [{"name": "RECONCILER_GRACE", "value": "2m", "source": ".env"}],
        "findings": [
            {"check": "a", "level": "ok", "message": "fine", "fix": None},
            {"check": "b", "level": "failure", "message": "bad", "fix": "fix it"},
        ],
    }


@pytest.mark.parametrize(
    ("error", "message", "fix"),
    [
        (DatabaseUnfit("no table t", "set RECONCILER_TABLE"), "no table t", "set RECONCILER_TABLE"),
        (DatabaseUnfit("relation t: set aside"), "relation t: set aside", "look there"),
        (DatabaseUnfit("long " * 200, "set A"), "long long", "set A"),
        (DatabaseUnfit("two\nlines", "check\nit"), "two lines", "check it"),
    ],
)
def test_the_fix_of_an_error_comes_before_that_of_its_check(
    error: DatabaseUnfit, message: str, fix: str
) -> None:
    finding = of_error("table", error, "look there")

    assert finding.message.startswith(message)
    assert finding.fix == fix
