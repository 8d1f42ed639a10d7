from __future__ import annotations

import re

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core import redaction as module
from reconciler.core.redaction import MARGIN, Redaction
from reconciler.core.text import LONGEST, one_line

MAIL = r"[\w.]+@[\w.]+"


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit counts the CPU of the whole process, whatever else that does."""
    monkeypatch.setattr(module, "SECONDS", 60.0)


def redaction(*expressions: str) -> Redaction:
    return Redaction(tuple(map(regex.compile, expressions)))


@pytest.mark.parametrize(
    ("expressions", "text", "kept"),
    [
        pytest.param([MAIL], "no ada@x.org, no b@y", "no [redacted], no [redacted]", id="each"),
        pytest.param([MAIL], "nothing to see", "nothing to see", id="no match"),
        pytest.param([r"\d{4}", "[a-z]{4}"], "1234 abcd", "[redacted] [redacted]", id="several"),
        pytest.param([r"card \d+", r"\d+ of"], "card 12 of", "[redacted]", id="overlapping: one"),
        pytest.param(["redacted", r"\d"], "7", "[redacted]", id="none sees another's mark"),
        pytest.param(["(?i)SECRET"], "a Secret", "a [redacted]", id="flags in the expression"),
        pytest.param([r"a b"], "a\n\tb", "[redacted]", id="held against the one line people see"),
        pytest.param([r"\b", "x*"], "a x", "a [redacted]", id="an empty match hides nothing"),
    ],
)
def test_what_matches_is_cut_out(expressions: list[str], text: str, kept: str) -> None:
    assert redaction(*expressions).line(text, 100) == kept


def test_a_match_at_the_limit_is_cut_out_before_the_text_is_cut() -> None:
    assert redaction(MAIL).line("by ada.lovelace@x.org", 14) == "by [redacted]"
    assert redaction(MAIL).line("by ada.lovelace@x.org", 10) == "by [redac…"


def test_without_expressions_a_text_is_unchanged() -> None:
    text = "two\nlines" + " " * 20_000 + "x"

    assert Redaction().hide(text) == text
    assert Redaction().line(text, 2000) == one_line(text, 2000)


def test_the_beginning_of_a_match_is_dropped_if_its_end_was_cut_off() -> None:
    secret = "KEY-" + "x" * 200 + "-END"
    text = "KEY-1-END " * 9_990 + secret + "KEY-2-END"
    assert len(text) > LONGEST > text.index(secret)

    line = redaction("KEY-.*?-END").line(text, 200_000)

    assert "KEY" not in line
    assert line.endswith("…")


def test_what_the_main_path_sends_of_a_long_text_becomes_the_same() -> None:
    text = "\n".join(f"{number} ada@x.org" for number in range(20_000))

    for limit in (50, 2000, LONGEST, 1_000_000):
        hidden = redaction(MAIL).line(text, limit)
        assert redaction(MAIL).line(text[:LONGEST], limit) == hidden
        assert "@" not in hidden


def test_the_margin_is_dropped_only_from_a_text_that_was_cut() -> None:
    assert redaction("q").line("x" * (LONGEST - 1), LONGEST) == "x" * (LONGEST - 1)
    cut = redaction("q").line("x" * LONGEST, LONGEST)
    assert len(cut) == LONGEST - MARGIN + 1


@given(st.text(alphabet="ab12 \n"), st.integers(min_value=1, max_value=30))
def test_no_digit_is_left(text: str, limit: int) -> None:
    line = redaction(r"\d+").line(text, limit)

    assert not re.search(r"\d", line)
    assert len(line) <= limit


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("(a+)+$", "a" * 50_000 + "!"),
        ("(a|aa)+$", "a" * 50_000 + "!"),
        (r"(\w+\s?)*!$", "a" * 50_000 + "!x"),
        (r"(.*a){20}$", "ab" * 25_000),
        (r"(.+?)\1+$", "a" * 50_000 + "!"),
        ("KEY-.*?-END", "KEY-" * 25_000),
    ],
)
def test_an_expression_that_backtracks_for_ever_times_out(
    monkeypatch: pytest.MonkeyPatch, expression: str, text: str
) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.25)
    with pytest.raises(TimeoutError):
        redaction(expression).hide(text, LONGEST)


def test_a_text_is_searched_one_margin_beyond_the_limit() -> None:
    for before in range(0, 60_000, 3_000):
        text = "-" * before + "KEY" + "x" * (MARGIN - 6) + "END" + "-" * 200_000
        line = redaction("KEYx+END").line(text, 2000)
        assert "x" not in line
        assert len(line) <= 2000
    assert len(redaction("q").hide("-" * 90_000, 2000)) < 10_000


def test_dropped_white_space_does_not_count_as_searched() -> None:
    text = "one  word " * 5_000

    assert redaction("q").line(text, 2000) == one_line(text, 2000)
