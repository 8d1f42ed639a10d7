from __future__ import annotations

from collections import Counter

from benchmarks.feed.quiet import Window, figures_of_a_day, figures_of_a_poll

LISTS = Counter({"ListWorkflowExecutions": 50})


def test_the_cost_of_a_poll_is_compared_with_that_of_the_smallest_table() -> None:
    small = Window(10, 10, 0.05, LISTS, 10)
    large = Window(10, 10, 0.10, LISTS, 20)
    idle = Window(10, 0, 0.01, Counter(), 10)

    figures = {each.name: each for each in figures_of_a_poll({10: small, 1000: large}, idle)}

    assert figures["10 rows: calls of a poll"].value == 5
    assert figures["10 rows: CPU"].value == 0.5
    assert figures["1,000 rows: CPU of a poll"].measured == "10 ms"
    assert figures["1,000 rows: CPU of a poll"].comparison == "2× of 10 rows"
    assert figures["10 rows: statements of a poll"].is_met is True
    assert figures["1,000 rows: statements of a poll"].value == 1
    assert figures["1,000 rows: statements of a poll"].is_met is False


def test_a_day_is_compared_with_passes_that_list_and_describe_every_row() -> None:
    calls = LISTS + Counter({"DescribeWorkflowExecution": 250})
    seen = Window(10, 10, 0.05, calls, 10)

    figures = {each.name: each for each in figures_of_a_day({100_000: seen})}

    assert figures["100,000 rows: calls in a day"].value == 300 * 8640
    # 2,880 passes of 200 lists, and 144 times a describe of each row.
    assert "of the 14,976,000" in figures["100,000 rows: calls in a day"].compared
    assert figures["100,000 rows: calls in 10 s"].compared == "of the 310 allowed"
