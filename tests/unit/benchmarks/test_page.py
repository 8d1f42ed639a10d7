from __future__ import annotations

import pytest

from benchmarks import __main__ as program
from benchmarks.figures import Figure, Result, at_least, at_most
from benchmarks.page import make_page, summarise

RESULTS = [
    Result(
        "Rows that have ended",
        "How it was measured.",
        [
            Figure("naive loop", 160, "rows/s"),
            Figure("half", 500, "rows/s", 0.45, "of the ceiling", at_least(0.9, "×")),
            Figure("just", 900, "rows/s", 0.9, "of the ceiling", at_least(0.9, "×")),
        ],
    ),
    Result("Growth", "", [Figure("`memory`", 0, "MB", goal=at_most(30, "MB"))]),
]


def test_the_page_shows_each_figure_with_its_comparison_and_verdict() -> None:
    page = make_page(RESULTS, {"machine": "2 cores", "servers": "Temporal 1.32.0"})

    assert "| naive loop | 160 rows/s |  |  |  |" in page
    assert "| half | 500 rows/s | 0.45× of the ceiling | ≥ 0.90× | **missed** |" in page
    assert "| just | 900 rows/s | 0.90× of the ceiling | ≥ 0.90× | met |" in page
    assert "2 of 3 goals are met; missed: half." in page
    assert "| servers | Temporal 1.32.0 |" in page


def test_the_summary_names_no_goal_if_none_was_missed() -> None:
    assert summarise(RESULTS[1:]) == "1 of 1 goals are met"


@pytest.mark.parametrize("part", [["--quick"], ["--only", "once"]])
def test_partial_measurements_are_never_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], part: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", "--write", *part])

    with pytest.raises(SystemExit) as rejected:
        program.main()

    assert rejected.value.code == 2
    assert "not with --quick or --only" in capsys.readouterr().err
