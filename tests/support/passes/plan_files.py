"""Plan files for tests, written as a dry run writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.errors import ConfigurationError
from reconciler.core.model import Finish, Leave, LeaveReason, OldValues, RowId, Verdict
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.plan.format import PlanHeader
from reconciler.plan.read import Plan, open_plan
from reconciler.plan.write import PlanWriter
from tests.support.factories import NOW, finish, row

HEADER = PlanHeader(
    table="workflow_executions",
    namespace="default",
    running=("running",),
    made_at=NOW,
    window={"since": "90d", "until": None},
    plan_id="0b0b5a4e-0000-4000-8000-000000000000",
    reconciler_version="1.2.3",
)
RUNNING = OldValues("running", None, None)


async def still_running(ids: Sequence[RowId]) -> Mapping[RowId, OldValues]:
    return dict.fromkeys(ids, RUNNING)


def dry_run() -> PassReport:
    return PassReport("pass", PassRequest("backfill", dry_run=True), started_at=NOW)


async def make_plan(
    path: Path,
    verdicts: Sequence[Verdict],
    *,
    held_back: bool = False,
    header: PlanHeader = HEADER,
) -> Path:
    report = dry_run()
    missing = sum(isinstance(each, Finish) and each.missing is not None for each in verdicts)
    finished = sum(isinstance(verdict, Finish) for verdict in verdicts)
    report.done.written["completed"] = finished - missing if held_back else finished
    with PlanWriter(path, header, still_running) as writer:
        await writer.on_page(report, verdicts)
        await writer.on_pass(report)
    assert report.error is None
    return path


def read_plan(path: Path, **other: Any) -> Plan:
    given = {"table": "workflow_executions", "running": ("running",), "read_id": lambda id_: id_}
    return open_plan(path, **{**given, **other})


def finishes(*numbers: int, missing: LeaveReason | None = None) -> list[Verdict]:
    return [finish(row(number), missing=missing) for number in numbers]


def leaves(*numbers: int) -> list[Verdict]:
    return [Leave(row(number), LeaveReason.OPEN, "RUNNING") for number in numbers]


#: Lines 2 to 7 of a plan: three rows to finish among others, the last one on line 6.
VERDICTS: list[Verdict] = [
    *leaves(1),
    *finishes(2, 3),
    *leaves(4),
    *finishes(5, missing=LeaveReason.EXPIRED),
    *leaves(6),
]


def refused(path: Path, **other: Any) -> str:
    with pytest.raises(ConfigurationError) as refusal:
        read_plan(path, **other)
    assert str(refusal.value).startswith(f"--plan {path}: ")
    assert "\n" not in str(refusal.value)
    return str(refusal.value).removeprefix(f"--plan {path}: ")


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]
