"""A plan to apply."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.plan.read import Plan
from tests.support.passes.plan_files import finishes, leaves, make_plan, read_plan


@pytest.fixture
async def plan(tmp_path: Path) -> Plan:
    """Rows 1 to 7 on lines 2 to 8; the plan finishes all but 1, 4 and 7."""
    verdicts = [*leaves(1), *finishes(2, 3), *leaves(4), *finishes(5, 6), *leaves(7)]
    return read_plan(await make_plan(tmp_path / "plan.jsonl", verdicts))
