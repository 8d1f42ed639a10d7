"""A plan to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.passes.plan_files import VERDICTS, make_plan


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    return await make_plan(tmp_path / "plan.jsonl", VERDICTS, held_back=True)
