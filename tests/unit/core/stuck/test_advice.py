"""What to do about each reason, as the documentation says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.model import MISSING_REASONS, LeaveReason
from reconciler.core.stuck.advice import RISK_ADVICE, STUCK_ADVICE
from reconciler.core.stuck.condition import Reason
from reconciler.core.stuck.summary import STUCK

_DOCS = (Path(__file__).parents[4] / "docs" / "stuck.md").read_text().replace("`", "")


def test_each_reason_has_advice() -> None:
    assert set(STUCK_ADVICE) == set(STUCK)
    assert set(RISK_ADVICE) == {*MISSING_REASONS, LeaveReason.UNKNOWN}


@pytest.mark.parametrize("reason", STUCK)
def test_the_documentation_says_the_same(reason: Reason) -> None:
    (line,) = [each for each in _DOCS.splitlines() if each.startswith(f"| {reason} |")]

    assert line.split(" | ")[-1].startswith(STUCK_ADVICE[reason])
