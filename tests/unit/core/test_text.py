from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.text import one_line


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
        pytest.param(" " * 10_000 + "x", 5, "…", id="a cut is always told"),
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
