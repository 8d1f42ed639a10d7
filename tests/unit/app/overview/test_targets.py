"""All targets at a glance: what is said of all, and that no target hides another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial

import pytest

import reconciler.app.overview.targets
from reconciler.app.overview import patience
from reconciler.app.overview.model import Overview, State
from reconciler.app.overview.targets import AllTargets, Targets, TargetState
from reconciler.core.errors import DatabaseUnusable
from tests.support.page import views

WORKS, FAILS, RESTS = views.overview(), views.failing(), views.not_running()
CANNOT_START, WAITS = views.starting(), views.standby()
STARTS = views.overview(working=views.working(State.STARTING))


@pytest.mark.parametrize(
    ("each", "state", "headline"),
    [
        ([WORKS, WORKS], State.WORKING, "All 2 targets work"),
        ([WAITS, WORKS], State.WORKING, "All 2 targets work"),
        ([WAITS, WAITS], State.STANDBY, "All 2 targets are on standby"),
        ([WORKS, STARTS], State.STARTING, "1 of 2 targets is starting"),
        ([STARTS, STARTS], State.STARTING, "2 of 2 targets are starting"),
        ([STARTS, RESTS], State.NOT_RUNNING, "1 of 2 targets does not work"),
        ([RESTS, WORKS, FAILS], State.FAILING, "2 of 3 targets do not work"),
        ([WORKS, CANNOT_START], State.FAILING, "1 of 2 targets does not work"),
        ([WORKS, None], State.FAILING, "1 of 2 targets does not work"),
    ],
)
def test_what_is_said_of_all(each: Sequence[Overview | None], state: State, headline: str) -> None:
    found = AllTargets([TargetState("x", view, "silent") for view in each])

    assert (found.state, found.headline) == (state, headline)


async def test_targets_are_in_the_order_of_the_settings_whatever_their_state() -> None:
    async def late() -> Overview:
        await asyncio.sleep(0)
        return FAILS

    async def soon() -> Overview:
        return WORKS

    found = await Targets({"z": soon, "b": late, "a": soon}).read()

    assert [each.name for each in found.lines] == ["z", "b", "a"]
    assert list(found.counts.items()) == [(State.FAILING, 1), (State.WORKING, 2)]


async def test_a_target_that_hangs_or_has_a_bug_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 0.01)

    async def hangs() -> Overview:
        await asyncio.Event().wait()
        raise AssertionError

    async def refuses() -> Overview:
        raise DatabaseUnusable("refused", "")

    async def errs() -> Overview:
        raise KeyError("secret")

    async def answers() -> Overview:
        return WORKS

    asks = {"hangs": hangs, "refuses": refuses, "errs": errs, "answers": answers}
    async with asyncio.timeout(30):
        found = await Targets(asks).read()

    assert [each.headline for each in found.lines] == [
        "Not answering: no answer within 0.01 s",
        "Not answering: refused",
        "Not answering: internal error: KeyError",
        "Working: this replica makes the repairs",
    ]
    assert [each.state for each in found.lines] == [State.FAILING] * 3 + [State.WORKING]
    assert (found.now, found.version) == (WORKS.now, WORKS.version)


async def test_views_wait_for_no_reading_and_readings_are_spread_once_all_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconciler.app.overview.targets, "SPREAD", 1e6)
    asked, view, gate, clock = Counter[str](), WORKS, asyncio.Event(), [0.0]

    async def ask(name: str) -> Overview:
        asked[name] += 1
        await gate.wait()
        return view

    asks = {name: partial(ask, name) for name in ("first", "last")}
    targets = Targets(asks, lambda: clock[0])
    gate.set()
    async with asyncio.timeout(30):
        assert (await targets.read()).state is State.WORKING
        gate.clear()
        view, clock[0] = FAILS, 5.0
        assert (await targets.read()).state is State.WORKING
        gate.set()
        while (found := await targets.read()).state is State.WORKING:
            pass

    assert asked == {"first": 2, "last": 1}
    assert found.counts == {State.FAILING: 1, State.WORKING: 1}
