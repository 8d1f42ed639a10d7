"""The exit code of `reconciler doctor`, and what it prints to stdout and stderr."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from reconciler.cli.main import run
from reconciler.doctor import examine
from reconciler.doctor.findings import Examination, Finding, failure, not_checked, ok, warning


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://app@db/app")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal:7233")


@pytest.mark.parametrize("json_", [[], ["--json"]], ids=["lines", "json"])
@pytest.mark.parametrize(
    ("finding", "code", "outcome"),
    [
        (ok("table", "fits"), 0, "ok"),
        (not_checked("table", "no connection"), 0, "ok"),
        (warning("table", "odd", "fix it"), 3, "warning"),
        (failure("table", "gone", "fix it"), 4, "failure"),
    ],
    ids=["ok", "not checked", "warning", "failure"],
)
def test_the_worst_finding_decides_the_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    json_: list[str],
    finding: Finding,
    code: int,
    outcome: str,
) -> None:
    async def examined(*_: Any, **__: Any) -> Examination:
        return Examination([], [finding])

    monkeypatch.setattr(examine, "examine", examined)

    assert run(["doctor", *json_]) == code
    printed = capsys.readouterr()
    assert printed.err == ""
    if json_:
        assert json.loads(printed.out)["outcome"] == outcome
    else:
        assert printed.out.splitlines()[-1].startswith(f"{outcome}: ")


def test_output_of_the_teams_code_goes_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def examined(*_: Any, **__: Any) -> Examination:
        sys.stdout.write("loading keys\n")  # as a data converter may, when it is imported
        return Examination([], [])

    monkeypatch.setattr(examine, "examine", examined)

    assert run(["doctor", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["outcome"] == "ok"
    assert printed.err == "loading keys\n"
