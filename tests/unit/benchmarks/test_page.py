from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as program
from benchmarks.chart import chart
from benchmarks.figures import Figure, Result, at_least, at_most
from benchmarks.page import page, write_page
from benchmarks.table import summary

SVG = "{http://www.w3.org/2000/svg}"
RESULTS = [
    Result(
        "Rows that have ended",
        "How it was measured.",
        [
            Figure("naive <loop> & co", 160, "rows/s"),
            Figure("half", 500, "rows/s", 0.45, "of the ceiling", at_least(0.9, "×")),
            Figure("just", 900, "rows/s", 0.9, "of the ceiling", at_least(0.9, "×")),
        ],
    ),
    Result("Growth <&>", "", [Figure("`memory`", 0, "MB", goal=at_most(30, "MB"))]),
]
MACHINE = {"machine": "2 cores", "servers": "Temporal 1.32.0"}


FIGURES = st.builds(
    Figure,
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")),
    st.floats(0, 1e9),
    st.just("rows/s"),
    st.floats(0, 1e6),
    st.just("of the ceiling"),
    st.floats(0.01, 1e3).map(lambda goal: at_least(goal, "×")),
)


@given(figures=st.lists(FIGURES, min_size=1, max_size=6))
def test_whatever_was_measured_the_chart_can_be_drawn(figures: list[Figure]) -> None:
    root = ET.fromstring(chart([Result("title", "", figures)]))  # noqa: S314 - our own

    ground, *drawn = [float(rect.get("width", "0")) for rect in root.iter(f"{SVG}rect")]
    assert len(drawn) == len(figures)
    assert all(0 <= width <= ground for width in drawn), "each within the picture"


def test_the_chart_tells_which_goals_were_missed() -> None:
    root = ET.fromstring(chart(RESULTS))  # noqa: S314 - our own

    kinds = [rect.get("class") for rect in root.iter(f"{SVG}rect")]
    assert kinds == ["ground", "missed", "met", "met"]


def test_the_page_says_each_figure_its_comparison_and_plainly_what_was_missed() -> None:
    text = page(RESULTS, MACHINE)

    assert "| naive <loop> & co | 160 rows/s |  |  |  |" in text
    assert "| half | 500 rows/s | 0.45× of the ceiling | ≥ 0.90× | **missed** |" in text
    assert "| just | 900 rows/s | 0.90× of the ceiling | ≥ 0.90× | met |" in text
    assert "2 of 3 goals are met; missed: half." in text
    assert "| servers | Temporal 1.32.0 |" in text


def test_where_nothing_was_missed_nothing_is_named() -> None:
    assert summary(RESULTS[1:]) == "1 of 1 goals are met"


def test_the_page_and_the_picture_it_shows_are_written_together(tmp_path: Path) -> None:
    write_page(RESULTS, MACHINE, tmp_path)

    assert "(benchmarks.svg)" in (tmp_path / "benchmarks.md").read_text()
    assert (tmp_path / "benchmarks.svg").read_text() == chart(RESULTS)


@pytest.mark.parametrize("part", [["--quick"], ["--only", "once"]])
def test_part_of_the_measurements_is_never_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], part: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", "--write", *part])

    with pytest.raises(SystemExit) as refused:
        program.main()

    assert refused.value.code == 2
    assert "not with --quick or --only" in capsys.readouterr().err
