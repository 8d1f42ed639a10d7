from __future__ import annotations

import pytest

from benchmarks import __main__ as program
from benchmarks.figures import Figure, Result, at_least, at_most
from benchmarks.page import make_page, replace_sections

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
    assert "\n1 of 1 goals are met.\n" in make_page(RESULTS[1:], {})


def test_a_scenario_that_is_measured_again_replaces_its_section() -> None:
    page = make_page(RESULTS, {"machine": "2 cores", "load before": "1.3"})
    better = Result("Rows that have ended", "Again.", [Figure("half", 1, "", goal=at_least(1))])
    new = Result("Feed", "Quiet.", [Figure("calls", 7, "calls", goal=at_most(6))])
    later = {"machine": "3 cores", "measured": "2026-11-30", "load before": "5.2"}

    page = replace_sections(page, [better, new], later)

    titles = [line for line in page.splitlines() if line.startswith("## ")]
    assert titles == ["## Rows that have ended", "## Growth", "## Feed"]
    assert "| machine | 2 cores |" in page
    assert "| load before | 1.3 |" in page
    assert "Again. Measured by a run of its own: 2026-11-30, load before 5.2." in page
    assert "naive loop" not in page
    assert "\n2 of 3 goals are met; missed: calls.\n" in page


def test_the_same_measurements_again_change_only_the_note() -> None:
    machine = {"measured": "today", "load before": "0"}
    page = make_page(RESULTS[:1], machine)

    again = replace_sections(page, RESULTS[:1], machine)

    assert again.replace(" Measured by a run of its own: today, load before 0.", "") == page


def test_quick_measurements_are_never_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", "--write", "--quick"])

    with pytest.raises(SystemExit) as rejected:
        program.main()

    assert rejected.value.code == 2
    assert "not with --quick" in capsys.readouterr().err
