"""The bars: where each lies, and the same in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.web.page.chart import HEIGHT, LOOKS, brief, chart, counted
from tests.support.page import views


def test_bars_are_stacked_and_the_tallest_fills_the_height() -> None:
    hours = tuple(
        replace(hour, rows={"completed": 1, "failed": 3} if number == 2 else {})
        for number, hour in enumerate(views.repaired().hours)
    )
    drawn = chart(replace(views.repaired(), hours=hours))

    assert drawn.top == 4
    assert [layer.path for layer in drawn.layers] == [
        f"M40 {HEIGHT}h15V{HEIGHT * 3 // 4}h-15z",
        f"M40 {HEIGHT * 3 // 4}h15V0h-15z",
    ]
    assert (
        drawn.summary == "4 rows repaired in 24 hours: 1 completed, 3 failed. Most from 17:00: 4."
    )


def test_no_rows_at_all() -> None:
    empty = views.empty().repaired
    assert empty is not None
    drawn = chart(empty)

    assert (drawn.layers, drawn.top, drawn.summary) == ([], 0, "0 rows repaired in 24 hours.")


def test_a_status_keeps_its_look_while_others_do_not_occur() -> None:
    names = "completed", "failed", "canceled"
    hours = tuple(replace(hour, rows={"failed": 1}) for hour in views.repaired().hours)
    drawn = chart(replace(views.repaired(), hours=hours, statuses=names))

    assert [(layer.status, layer.look) for layer in drawn.layers] == [("failed", 1)]


def test_more_statuses_than_looks() -> None:
    names = tuple(f"s{number}" for number in range(LOOKS + 3))
    hours = tuple(replace(hour, rows=dict.fromkeys(names, 1)) for hour in views.repaired().hours)
    drawn = chart(replace(views.repaired(), hours=hours, statuses=names))

    assert [layer.look for layer in drawn.layers] == [0, 1, 2, 3, 4, 5, 5, 5, 5]


def test_the_axes_say_how_many_rows_and_which_day() -> None:
    drawn = chart(views.repaired())

    assert [(line.rows, line.y) for line in drawn.lines] == [(20, 49.2)]
    assert [(mark.x, mark.text) for mark in drawn.marks(views.NOW)] == [
        (0, "yesterday 15:00Z"), (127, "21:00"), (247, "03:00"), (367, "09:00"), (467, "now"),
    ]  # fmt: skip
    one = chart(replace(views.repaired(), hours=(replace(views.repaired().hours[-1]),)))
    assert [mark.text for mark in one.marks(views.NOW)] == ["14:00Z", "now"]
    assert chart(views.empty().repaired or views.repaired()).lines == []


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (12_240, "12.2k"),
        (999_499, "999k"),
        (999_999, "1M"),
        (1_050_000, "1.05M"),
        (290_934_000, "291M"),
    ],
)
def test_numbers_beside_the_bars_have_room(rows: int, expected: str) -> None:
    assert brief(rows) == expected
    assert len(expected) <= 5


def test_the_statuses_of_each_hour_are_in_one_order() -> None:
    order = ["completed", "failed", "canceled"]

    assert counted({"failed": 1_000, "completed": 2, "canceled": 0}, order) == (
        "2 completed, 1,000 failed"
    )
