"""Which workflows report after their close, and what makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.core.errors import ConfigurationError
from reconciler.worker import ReconcilerPlugin
from reconciler.worker.after_close.choice import Choice
from tests.support.temporal.workflows import Scripted, Typed
from tests.support.worker.workflows import Decorated


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"report": "later"}, "report= is 'later': pass 'activity' or 'after_close'"),
        ({"report": None}, "report= is None: pass 'activity' or 'after_close'"),
        (
            {"after_close": ["A", "B"], "skip": ["B", "C"]},
            "skip= and after_close= both name B: remove it from one of them",
        ),
        (
            {"after_close": ["A", "B"], "only": ["A"]},
            (
                "after_close= names B, which only= leaves out: add it to only=, or remove it from "
                "after_close="
            ),
        ),
        (
            {"report": "after_close", "task_queue": "db"},
            (
                "task_queue= is for reports by an activity, and report='after_close' has none: "
                "remove task_queue="
            ),
        ),
    ],
)
def test_what_makes_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        ReconcilerPlugin(**options)

    assert str(raised.value) == message


@pytest.mark.parametrize("value", ["Scripted", [Scripted], Scripted, None, [["Scripted"]]])
def test_only_names_are_accepted(value: Any) -> None:
    with pytest.raises(TypeError, match="after_close= takes a collection of workflow types"):
        ReconcilerPlugin(after_close=value)


def test_some_or_all_types() -> None:
    some, every = Choice(types=frozenset({"A"})), Choice(every=True)

    assert ("A" in some, "B" in some, "B" in every) == (True, False, True)
    assert (bool(Choice()), bool(some), bool(every)) == (False, True, True)


def test_reporting_can_be_turned_off_without_touching_the_other_options() -> None:
    ReconcilerPlugin(after_close=["A"], only=[])


def test_a_worker_needs_the_types_that_are_named() -> None:
    choice = Choice(types=frozenset({"Scripted", "Typo"}))

    with pytest.raises(ConfigurationError) as raised:
        choice.check([Typed, Scripted])

    assert str(raised.value) == (
        "after_close= names Typo, which this worker does not have: name some of its workflow "
        "types: Scripted, Typed"
    )
    choice.check([])
    Choice(types=frozenset({"Scripted"})).check([Scripted, Decorated])
