"""Observers: each gets every event, whichever fails, and in any order of observers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
from structlog.testing import capture_logs

from reconciler.core.errors import Unusable
from reconciler.core.model import Missing, Open, Outcome, Verdict
from reconciler.core.observer import Observer, PassView
from reconciler.core.policy import StatusValues
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.passes.observers import Bystander
from tests.support.factories import closed, row
from tests.support.fakes import MemoryStore, ScriptedProbe
from tests.support.passes.bench import FAIL, reconcile, rows, scripted

EVENTS = ["on_start", "on_written", "on_page", "on_pass"]
FULL = Unusable("disk full")


class Notes(Observer):
    """Keeps all events with their values; may fail at one event, or at `all`."""

    def __init__(self, at: str = "", error: Exception = FULL) -> None:
        self.at, self.error = at, error
        self.received: list[tuple[str, Any]] = []

    async def on_start(self, report: PassView) -> None:
        self._note("on_start", seen(report))

    async def on_written(self, report: PassView, outcomes: Sequence[Outcome]) -> None:
        self._note("on_written", list(outcomes))

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:
        self._note("on_page", (seen(report), list(verdicts)))

    async def on_pass(self, report: PassView) -> None:
        self._note("on_pass", seen(report))

    def _note(self, event: str, what: Any) -> None:
        self.received.append((event, what))
        if self.at in (event, "all"):
            raise self.error

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.received]


def seen(report: PassView) -> dict[str, Any]:
    """The report but for what differs from pass to pass."""
    fields = report.as_json(StatusValues())
    return {**fields, "pass_id": "", "duration_seconds": 0, "error": report.error}


async def observed(*observers: Observer) -> PassReport:
    probe = scripted(closed(), wf_2=Open(), wf_4=Missing())
    return await reconcile(MemoryStore(rows(5)), probe, FAIL, observers=observers, batch_size=2)


async def test_one_that_fails_at_the_end_aborts_the_pass_and_the_others_are_notified() -> None:
    before, after = Notes(), Notes()

    report = await observed(before, Notes("on_pass"), after)

    assert (report.outcome, report.error) == (PassOutcome.ABORTED, "disk full")
    assert before.events == after.events
    assert before.events[-1] == "on_pass"


async def test_the_error_of_the_pass_itself_is_not_replaced() -> None:
    report = await observed(Notes("on_page", Unusable("first")), Notes("on_pass"))

    assert report.error == "first"


async def test_of_two_that_fail_at_one_event_the_first_gives_the_error() -> None:
    one, two = Notes("on_page", Unusable("one")), Notes("on_page", Unusable("two"))

    assert (await observed(one, two)).error == "one"


@pytest.mark.parametrize("at", ["", *EVENTS])
async def test_their_order_makes_no_difference(at: str) -> None:
    reports, received = [], []
    for names in permutations(["one", "failing", "other"]):
        observers = {name: Notes(at if name == "failing" else "") for name in names}
        reports.append(seen(await observed(*observers.values())))
        received.append({name: observer.received for name, observer in observers.items()})

    assert all(report == reports[0] for report in reports)
    assert all(each == received[0] for each in received)
    assert received[0]["one"] == received[0]["failing"] == received[0]["other"]
    assert reports[0]["error"] == ("disk full" if at else None)


async def test_a_bug_is_raised_rather_than_an_error_for_the_operator() -> None:
    observers = [Notes("on_pass"), Notes("on_pass", ZeroDivisionError()), Notes()]

    with pytest.raises(ZeroDivisionError):
        await observed(*observers)

    assert [each.events[-1] for each in observers] == ["on_pass"] * 3


@pytest.mark.parametrize("error", [OSError(28, "full"), ZeroDivisionError(), Unusable("no")])
async def test_a_pass_continues_without_a_bystander(error: Exception) -> None:
    store = MemoryStore([row(1), row(2)])
    probe = ScriptedProbe({"wf-1": closed(), "wf-2": closed()})
    broken = Notes("all", error)

    with capture_logs() as logged:
        report = await reconcile(store, probe, observers=[Bystander(broken)], batch_size=1)

    assert (report.error, sorted(store.finished)) == (None, [1, 2])
    assert len(broken.events) == 6
    said = [line for line in logged if line["log_level"] == "error"]
    assert [line["event"] for line in said] == ["observer_crashed"]
