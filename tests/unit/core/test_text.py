from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.text import duration, one_line, plural, rough, visible, visible_json
from tests.support.hostile import HOSTILE, unseen


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        pytest.param("plain", 10, "plain", id="short text stays"),
        pytest.param("exactly10!", 10, "exactly10!", id="exactly the limit stays"),
        pytest.param("eleven char", 10, "eleven ch…", id="one too many is cut"),
        pytest.param("a\r\n\tb\u2028c", 10, "a b c", id="line breaks become one space"),
        pytest.param("a\x00b\x1b[31mc", 20, "a b [31mc", id="NUL and escape go"),
        pytest.param("file \udcff.txt", 20, "file .txt", id="half a surrogate pair goes"),
        pytest.param("  padded\n", 10, "padded", id="no space at the ends"),
        pytest.param("ab cd", 4, "ab…", id="no space before the ellipsis"),
        pytest.param("ab", 1, "…", id="a limit of one"),
        pytest.param(" " * 10_000 + "x", 5, "…", id="a cut is always visible"),
    ],
)
def test_one_line(text: str, limit: int, expected: str) -> None:
    assert one_line(text, limit) == expected


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_any_text_becomes_one_storable_line(text: str, limit: int) -> None:
    line = one_line(text, limit)

    assert len(line) <= limit
    assert "\x00" not in line
    assert len(line.splitlines()) <= 1


def test_a_megabyte_is_cut() -> None:
    assert one_line("x" * 1_000_000, 2000) == "x" * 1999 + "…"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param(
            "größer → ≥ 日本 🙂 \u3000\u00a0", "größer → ≥ 日本 🙂 \u3000\u00a0", id="letters"
        ),
        pytest.param("a\\b", "a\\b", id="a backslash is one"),
        pytest.param("\x1b[31m", "\\x1b[31m", id="escape"),
        pytest.param("a\r\n\tb\x00\x08\x7f", "a\\r\\n\\tb\\x00\\x08\\x7f", id="C0 and DEL"),
        pytest.param("\x85\x9b", "\\x85\\x9b", id="C1"),
        pytest.param("\u202a\u202e\u2066\u2069", "\\u202a\\u202e\\u2066\\u2069", id="bidi"),
        pytest.param("\u200e\u200f\u061c", "\\u200e\\u200f\\u061c", id="marks of direction"),
        pytest.param("\u200b\u200d\u2060\ufeff", "\\u200b\\u200d\\u2060\\ufeff", id="no width"),
        pytest.param("\u2028\u2029", "\\u2028\\u2029", id="line and paragraph"),
        pytest.param("\u3164\u115f\u034f", "\\u3164\\u115f\\u034f", id="fillers"),
        pytest.param("\U000e0041", "\\U000e0041", id="tags"),
        pytest.param("\udcff\ud800", "\\udcff\\ud800", id="halves of pairs"),
        pytest.param("\ue000\uffff", "\\ue000\\uffff", id="no characters"),
    ],
)
def test_invisible_characters_are_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(alphabet=st.characters()) | st.just(HOSTILE))
def test_visible_text_is_unchanged(text: str) -> None:
    shown = visible(text)

    assert unseen(shown) <= {each for each in shown if each.isspace()}
    assert "\n" not in shown
    assert visible(shown) == shown
    shown.encode()


@given(st.text(alphabet=st.characters()) | st.just(HOSTILE))
def test_visible_json_is_the_same_json(text: str) -> None:
    line = visible_json({"text": text})

    assert json.loads(line) == {"text": text}
    assert unseen(line) <= {each for each in text if each.isspace()}
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.0004, "0.4 ms"),
        (0.25, "250 ms"),
        (1.5, "1.5 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (86_400, "24 h"),
        (-864_000, "10 d"),
        (31_536_000 * 3, "1095 d"),
    ],
)
def test_durations_are_shown_in_a_suitable_unit(seconds: float, shown: str) -> None:
    assert duration(timedelta(seconds=seconds)) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "under 1 s"), (119, "119 s"), (162, "2 min"), (9_100, "2 h"), (-864_000, "10 d")],
)
def test_rough_lengths_of_time_are_whole(seconds: float, shown: str) -> None:
    assert rough(timedelta(seconds=seconds)) == shown


def test_counts_are_shown_with_the_plural() -> None:
    assert [plural(count, "row") for count in (0, 1, 2, 1200)] == [
        *("0 rows", "1 row", "2 rows", "1,200 rows"),
    ]
