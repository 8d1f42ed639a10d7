"""The content of the file that a dry run writes."""

from __future__ import annotations

import csv
import unicodedata
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model import Leave, LeaveReason, Missing, Verdict
from reconciler.core.policy import MissingPolicy
from reconciler.core.report.pass_report import PassReport
from reconciler.plan.write import PlanWriter
from tests.support.factories import closed, finish, policy, row
from tests.support.fakes import MemoryStore, ScriptedProbe
from tests.support.hostile import HOSTILE, unseen
from tests.support.passes.bench import reconcile
from tests.support.passes.plan_files import (
    HEADER,
    dry_run,
    finishes,
    leaves,
    lines,
    make_plan,
    read_plan,
    still_running,
)


class TestPlan:
    async def test_begins_with_its_header(self, tmp_path: Path) -> None:
        path = await make_plan(tmp_path / "plan.jsonl", [])

        assert lines(path)[0] == {
            "reconciler_plan": 1,
            "plan_id": "0b0b5a4e-0000-4000-8000-000000000000",
            "table": "workflow_executions",
            "namespace": "default",
            "running": ["running"],
            "made_at": "2026-11-23T12:00:00+00:00",
            "reconciler_version": "1.2.3",
            "window": {"since": "90d", "until": None},
        }

    async def test_ends_with_its_figures_and_a_checksum(self, tmp_path: Path) -> None:
        verdicts = [*finishes(1), *leaves(2), *finishes(3, 4, missing=LeaveReason.EXPIRED)]
        path = await make_plan(tmp_path / "plan.jsonl", verdicts, held_back=True)

        content, _, checksum = path.read_bytes().rpartition(b', "sha256": ')
        assert lines(path)[-1] == {
            "end": True,
            "rows": 4,
            "finish": 3,
            "held_back": 2,
            "sha256": sha256(content).hexdigest(),
        }
        assert checksum.endswith(b'"}\n')

    async def test_counts_what_it_holds(self, tmp_path: Path) -> None:
        report = dry_run()
        with PlanWriter(tmp_path / "plan.jsonl", HEADER, still_running) as writer:
            await writer.on_page(report, finishes(1, 2))
            await writer.on_page(report, leaves(3))

            assert (writer.rows, writer.finishes) == (3, 2)

    async def test_an_argument_that_cannot_be_encoded_is_kept(self, tmp_path: Path) -> None:
        report, path = dry_run(), tmp_path / "plan.jsonl"
        header = HEADER.from_json({**HEADER.to_json(), "window": {"type": "\udcff"}})
        with PlanWriter(path, header, still_running) as writer:
            await writer.on_pass(report)

        assert lines(path)[0]["window"] == {"type": "\udcff"}


class TestTable:
    async def test_has_a_column_for_everything(self, tmp_path: Path) -> None:
        verdicts: list[Verdict] = [
            finish(row("a,b"), status="failed", error_message='say "no"\nor', workflow_type="T"),
            Leave(row(2, age=None, run_id=None), LeaveReason.EXPIRED, "größer\n"),
        ]
        path = await make_plan(tmp_path / "plan.csv", verdicts)

        with path.open(newline="", encoding="utf-8") as file:
            finished, left = csv.DictReader(file)
        assert finished == {
            "id": "a,b",
            "workflow_id": "wf-a,b",
            "run_id": "run-a,b",
            "created_at": "2026-11-23T11:00:00+00:00",
            "verdict": "finish",
            "reason": "",
            "detail": "",
            "old_status": "running",
            "old_completed_at": "",
            "old_error_message": "",
            "new_status": "failed",
            "new_completed_at": "2026-11-23T11:59:58.123456+00:00",
            "new_error_message": r'say "no"\nor',
            "temporal_status": "COMPLETED",
            "final_run_id": "run-last",
            "close_time": "2026-11-23T11:59:58.123456+00:00",
            "workflow_type": "T",
            "namespace": "",
            "updated_at": "",
        }
        assert {name: value for name, value in left.items() if value} == {
            "id": "2",
            "workflow_id": "wf-2",
            "verdict": "leave",
            "reason": "expired",
            "detail": r"größer\n",
            "old_status": "running",
        }

    async def test_has_nothing_else(self, tmp_path: Path) -> None:
        path = await make_plan(tmp_path / "plan.csv", finishes(1, 2, 3))

        assert len(path.read_text().splitlines()) == 4


class TestDryRun:
    """With the pass itself."""

    async def kept(self, path: Path, count: int = 40, **options: Any) -> PassReport:
        rows = [row(number, age=timedelta(days=2)) for number in range(1, count + 1)]
        probe = ScriptedProbe({"wf-1": closed(), "wf-2": closed()}, default=Missing())
        with PlanWriter(path, HEADER, still_running) as writer:
            return await reconcile(
                MemoryStore(rows),
                probe,
                policy(missing=MissingPolicy.FAIL),
                observers=[writer],
                dry_run=True,
                batch_size=10,
                **options,
            )

    async def test_missing_rows_that_would_be_failed_are_in_the_plan(self, tmp_path: Path) -> None:
        report = await self.kept(tmp_path / "plan.jsonl", count=10)

        end = lines(tmp_path / "plan.jsonl")[-1]
        assert (end["rows"], end["finish"], end["held_back"]) == (10, 10, 0)
        assert report.changed == 10

    async def test_the_trailer_counts_what_the_breaker_holds_back(self, tmp_path: Path) -> None:
        report = await self.kept(tmp_path / "plan.jsonl")

        end = lines(tmp_path / "plan.jsonl")[-1]
        assert (end["rows"], end["finish"], end["held_back"]) == (40, 40, 38)
        assert report.held_back == 38

    async def test_and_all_missing_rows_if_a_limit_came_before_the_breaker(
        self, tmp_path: Path
    ) -> None:
        report = await self.kept(tmp_path / "plan.jsonl", max_changes=1)

        end = lines(tmp_path / "plan.jsonl")[-1]
        assert (end["rows"], end["finish"], end["held_back"]) == (1, 1, 0)
        assert report.changed == 1

        await self.kept(tmp_path / "more.jsonl", max_changes=2)
        end = lines(tmp_path / "more.jsonl")[-1]
        assert (end["rows"], end["finish"], end["held_back"]) == (10, 10, 8)

    async def test_but_none_if_the_breaker_did_not_trip(self, tmp_path: Path) -> None:
        report = await self.kept(tmp_path / "plan.jsonl", count=10, max_changes=3)

        end = lines(tmp_path / "plan.jsonl")[-1]
        assert (end["rows"], end["finish"], end["held_back"]) == (10, 10, 0)
        assert report.tally.written == {"completed": 2, "failed": 1}

    async def test_a_pass_that_ends_at_a_limit_leaves_a_plan(self, tmp_path: Path) -> None:
        report = await self.kept(tmp_path / "plan.jsonl", limit=15)

        assert report.more_left
        assert lines(tmp_path / "plan.jsonl")[-1]["rows"] == 15


FORMULAS = [
    *("=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", '"=1', "\u200b=1"),
    *("\uff1d1", "\uff0b1", "\uff0d1", "\uff20a", "\u2212a", "\ufe661"),
    *("a;=1", 'a; "=1"', "a;\"=cmd|'/C calc'!A0\";b", "a;-1", "-1;=2", "'=1"),
]


class TestSpreadsheet:
    """A table for people is opened by programs that run formulas."""

    @pytest.mark.parametrize("text", FORMULAS)
    @pytest.mark.parametrize("separator", [",", ";"], ids=["comma", "semicolon"])
    async def test_no_cell_is_a_formula(self, tmp_path: Path, text: str, separator: str) -> None:
        of = row(text, workflow_id=text, run_id=text)
        verdicts: list[Verdict] = [
            finish(of, status=text, error_message=text, workflow_type=text, final_run_id=text),
            Leave(of, LeaveReason.UNKNOWN, text),
        ]
        path = await make_plan(tmp_path / "plan.csv", verdicts)

        with path.open(newline="", encoding="utf-8") as file:
            cells = [cell for line in csv.reader(file, delimiter=separator) for cell in line]

        begins = {unicodedata.normalize("NFKC", cell.strip(' "'))[:1] for cell in cells}
        assert begins.isdisjoint("=+-@\u2212")

    async def test_a_negative_number_is_not_a_formula(self, tmp_path: Path) -> None:
        verdicts = [finish(row(-5, workflow_id="-17")), finish(row("-2.50", workflow_id="-x"))]
        path = await make_plan(tmp_path / "plan.csv", verdicts)

        with path.open(newline="", encoding="utf-8") as file:
            lines = [(line["id"], line["workflow_id"]) for line in csv.DictReader(file)]
        assert lines == [("-5", "-17"), ("-2.50", "'-x")]

    @pytest.mark.parametrize("key", [Decimal("1.50"), 2.5, b"k", IPv4Address("10.0.0.1")])
    async def test_a_key_of_any_type_is_written_without_a_warning(
        self, tmp_path: Path, key: Any
    ) -> None:
        path = await make_plan(tmp_path / "plan.csv", [finish(row(key))])

        with path.open(newline="", encoding="utf-8") as file:
            assert [line["id"] for line in csv.DictReader(file)] == [str(key)]


@pytest.mark.parametrize("name", ["plan.csv", "plan.jsonl"])
async def test_a_file_can_be_looked_at_in_a_terminal(tmp_path: Path, name: str) -> None:
    of = row(HOSTILE, workflow_id=HOSTILE, run_id=HOSTILE)
    path = await make_plan(tmp_path / name, [finish(of, status=HOSTILE, error_message=HOSTILE)])

    content = path.read_text(encoding="utf-8")

    assert unseen(content) == set()
    assert "FORGED" not in "".join(line[:20] for line in content.splitlines())
    if name.endswith(".jsonl"):
        ((_, read),) = next(read_plan(path).batches(0, 10))
        assert read.outcome.row == of, "read as it was written"
        assert read.outcome.error_message == HOSTILE
