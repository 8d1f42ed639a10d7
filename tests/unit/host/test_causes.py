from __future__ import annotations

import sys

from reconciler.host.causes import MAX_CAUSES, MAX_LENGTH, MAX_LINES, OTHER, Causes, in_words


def lines(causes: Causes, cause: str, *of: int) -> list[int]:
    """The subjects that are logged."""
    return [each for each in of if causes.is_news(cause, each)]


def test_the_first_few_of_each_cause_are_logged_and_the_others_counted() -> None:
    causes = Causes()

    assert lines(causes, "busy", *range(11_000)) == list(range(MAX_LINES))
    assert lines(causes, "locked", 1) == [1]
    assert causes.end_round() == {"busy": 11_000 - MAX_LINES}


def test_the_same_warning_is_not_logged_in_the_next_round() -> None:
    causes = Causes()
    lines(causes, "busy", *range(11_000))
    causes.end_round()

    for _ in range(3):
        assert lines(causes, "busy", *range(11_000)) == []
        assert causes.end_round() == {}


def test_a_new_cause_is_logged_and_so_is_another_row_below_the_cap() -> None:
    causes = Causes()
    lines(causes, "busy", 1, 2)
    causes.end_round()

    assert lines(causes, "busy", 1, 2, 3) == [3]
    assert lines(causes, "locked", 1) == [1]


def test_a_warning_is_logged_again_after_a_round_without_it() -> None:
    causes = Causes()
    lines(causes, "busy", 1)
    causes.end_round()
    causes.end_round()

    assert lines(causes, "busy", 1) == [1]


def test_a_summary_is_repeated_when_the_number_has_doubled() -> None:
    causes, summaries = Causes(), []
    for count in (MAX_LINES, 15, 24, 25, 30, 44, 45, 5, 15):
        lines(causes, "busy", *range(count))
        summaries.append(dict(causes.end_round()))

    assert summaries == [
        {}, {"busy": 10}, {}, {"busy": 20}, {}, {}, {"busy": 40}, {}, {"busy": 10},
    ]  # fmt: skip


def test_beyond_the_cap_causes_are_counted_as_one() -> None:
    causes = Causes()

    shown = [number for number in range(11_000) if causes.is_news(f"no {number}", number)]

    assert shown == list(range(MAX_CAUSES + MAX_LINES))
    assert causes.end_round() == {OTHER: 11_000 - MAX_CAUSES - MAX_LINES}
    assert not any(causes.is_news(f"no {number}", number) for number in range(11_000))


def test_its_size_does_not_grow_with_rows_rounds_or_causes() -> None:
    causes = Causes()
    for number in range(3 * 1_000):
        causes.is_news(f"{number}" + "x" * 100_000, number)
        if number % 1_000 == 0:
            causes.end_round()

    kept = [*causes._now, *causes._before, *causes._summed_up]
    assert len(kept) <= 3 * (MAX_CAUSES + 1)
    assert sum(map(sys.getsizeof, kept)) < len(kept) * 2 * MAX_LENGTH
    assert all(len(each.first) <= MAX_LINES for each in causes._now.values())


def test_in_words_the_most_frequent_comes_first() -> None:
    assert in_words({"busy": 2, "locked": 30}) == "locked (30); busy (2)"
