"""Is it working? One state and one sentence for each situation."""

from __future__ import annotations

import pytest

from reconciler.app.overview.model import DatedError, State
from reconciler.app.overview.state import Situation, judge
from tests.support.factories import NOW


def error(what: str) -> DatedError:
    return DatedError(NOW, what, f"{what} is broken")


OVERDUE = "3 passes are overdue"


@pytest.mark.parametrize(
    ("situation", "state", "headline"),
    [
        pytest.param(
            Situation(role="starting", waiting_for="waiting for PostgreSQL at db/app: refused"),
            State.STARTING,
            "Starting: waiting for PostgreSQL at db/app: refused",
            id="no server yet",
        ),
        pytest.param(
            Situation(role="holder", has_passed=False),
            State.STARTING,
            "Starting: the first pass has not come to its end yet",
            id="no pass yet",
        ),
        pytest.param(
            Situation(role="holder"),
            State.WORKING,
            "Working: this replica makes the repairs",
            id="working",
        ),
        pytest.param(
            Situation(role="holder", journals=False),
            State.WORKING,
            "Working: this replica makes the repairs; so does every other replica, as "
            "RECONCILER_JOURNAL is off",
            id="no lease",
        ),
        pytest.param(
            Situation(role="waiting", failing=[error("pass")], late=OVERDUE),
            State.FAILING,
            "Running, but failing: The last pass failed: pass is broken",
            id="passes fail, which is another thing than not running",
        ),
        pytest.param(
            Situation(role="holder", failing=[error("feed")]),
            State.FAILING,
            "Running, but failing: The feed fails, so only passes find rows: feed is broken",
            id="the feed fails",
        ),
        pytest.param(
            Situation(
                role="holder",
                failing=[error("feed"), error("lease"), error("pass"), error("PostgreSQL")],
            ),
            State.FAILING,
            "Running, but failing: PostgreSQL cannot be used: PostgreSQL is broken "
            "(and 3 more below)",
            id="everything fails: the cause first",
        ),
        pytest.param(
            Situation(role="waiting", failing=[error("Temporal")], has_passed=False),
            State.FAILING,
            "Running, but failing: Temporal cannot be used: Temporal is broken",
            id="the first pass fails",
        ),
        pytest.param(
            Situation(role="standby", has_passed=False, holder="host/1/ab"),
            State.STARTING,
            "Starting: the first pass has not come to its end yet (the passes are made by "
            "host/1/ab)",
            id="standby, no pass yet",
        ),
        pytest.param(
            Situation(
                role="waiting", has_passed=False, late="a pass was due, and none was started"
            ),
            State.NOT_RUNNING,
            "Not running: a pass was due, and none was started",
            id="not running",
        ),
        pytest.param(
            Situation(role="standby", holder="host/1/ab"),
            State.STANDBY,
            "On standby: host/1/ab makes the repairs",
            id="standby",
        ),
        pytest.param(
            Situation(role="standby", holder="host/1/ab", late=OVERDUE),
            State.NOT_RUNNING,
            "Not running: 3 passes are overdue (the passes are made by host/1/ab)",
            id="standby, and the holder does nothing",
        ),
        pytest.param(
            Situation(role="standby", holder="host/1/ab", failing=[error("pass")]),
            State.FAILING,
            "Running, but failing (the passes are made by host/1/ab): The last pass failed: pass "
            "is broken",
            id="standby, and the holder's passes fail",
        ),
    ],
)
def test_states(situation: Situation, state: State, headline: str) -> None:
    assert judge(situation) == (state, headline)
