from __future__ import annotations

import pytest

from reconciler.core.policy import StatusValues
from reconciler.core.status_review import StatusCount, StatusCounts, review_statuses
from reconciler.core.table_warnings import WarningCode

IDLE, SPELLING, UNMAPPED = (
    WarningCode.NO_CONFIGURED_STATUS,
    WarningCode.OTHER_SPELLING,
    WarningCode.UNMAPPED_STATUS,
)


def count(value: str | None, rows: int = 10, ended: int = 0) -> StatusCount:
    return StatusCount(value, rows, sampled=rows, newest=rows, ended=ended)


def review(
    *counts: StatusCount, statuses: StatusValues | None = None, has_running: bool = False
) -> list[tuple[WarningCode, str, str]]:
    found = StatusCounts(counts, exact=True)
    warnings = review_statuses(found, statuses or StatusValues(), "state", has_running=has_running)
    return [(each.code, each.problem, each.fix) for each in warnings]


@pytest.mark.parametrize(
    "counts",
    [
        [],
        [count("running")],
        [count("completed"), count("failed")],
        [count("running"), count("partial", ended=9), count("cancelled"), count("timed out")],
        [count("completed", 100), StatusCount("COMPLETED", 9_000)],
        [count("completed"), StatusCount("scoring", 5)],
    ],
    ids=[
        "no rows",
        "running rows",
        "rows that have ended",
        "more ends than Temporal has",
        "another spelling in the past",
        "a value of which no row is in the sample",
    ],
)
def test_nothing_is_suspicious(counts: list[StatusCount]) -> None:
    assert review(*counts) == []


@pytest.mark.parametrize("value", ["RUNNING", " running", "in_progress", None])
def test_no_value_is_configured(value: str | None) -> None:
    ((code, problem, fix),) = review(count(value, 50), count("COMPLETED", 3012, ended=3012))

    assert code is IDLE
    shown = {" running": "' running'", None: "NULL"}.get(value, value)
    assert problem == (
        "no row has the status running, or another that a setting names; "
        f"rows have {shown} (50), COMPLETED (3,012)"
    )
    completed = "RECONCILER_STATUSES__COMPLETED=COMPLETED"
    assert fix == {
        "RUNNING": f"set RECONCILER_STATUSES__RUNNING=RUNNING, {completed}",
        " running": f"set RECONCILER_STATUSES__RUNNING='[\" running\"]', {completed}",
    }.get(
        str(value),
        "set RECONCILER_STATUSES__RUNNING, __COMPLETED and __FAILED to values of the column "
        "(`reconciler init` suggests some)",
    )


def test_a_running_row_that_the_sample_does_not_show() -> None:
    assert review(count("archived"), has_running=True) == []


def test_values_that_are_written_in_another_spelling() -> None:
    statuses = StatusValues(running=("RUNNING",))

    assert review(count("Timed-Out"), statuses=statuses, has_running=True) == []
    assert review(
        count("COMPLETED", 3000), count("failed", 2), count("FAILED", 40), statuses=statuses
    ) == [
        (
            SPELLING,
            "passes write completed, failed, and rows have COMPLETED (3,000), FAILED (40)",
            "set RECONCILER_STATUSES__COMPLETED=COMPLETED, RECONCILER_STATUSES__FAILED=FAILED",
        )
    ]
    blanks = review(count("RUNNING"), count("completed ", 9), statuses=statuses)
    assert blanks[0][1:] == (
        "passes write completed, and rows have 'completed ' (9)",
        "set RECONCILER_STATUSES__COMPLETED='completed '",
    )


def test_values_of_rows_that_have_not_ended() -> None:
    counts = [count("running"), count("awaiting_approval", 50), count("ready", 9, ended=4)]

    assert review(*counts) == [
        (
            UNMAPPED,
            (
                "rows that have not ended have statuses that no setting names: "
                "awaiting_approval (50), ready (9)"
            ),
            (
                "add those of running workflows to RECONCILER_STATUSES__RUNNING, and leave out the "
                "others with RECONCILER_WHERE, as in 'state!=awaiting_approval'"
            ),
        )
    ]


def test_ends_that_only_the_application_knows() -> None:
    statuses = StatusValues(completed=None)

    assert review(count("approved", ended=10), statuses=statuses) == []
    assert review(count("waiting"), statuses=statuses)[0][0] is IDLE
    assert review(count("running"), count("Completed"), statuses=statuses) == []


def test_null_is_left_out_by_its_own_condition() -> None:
    ((_, problem, fix),) = review(count("running"), count(None))

    assert problem.endswith("NULL (10)")
    assert "RECONCILER_STATUSES__RUNNING (null as in '[\"running\", null]')" in fix
    assert fix.endswith("'state is not null'")


def test_a_filter_that_selects_nothing() -> None:
    found = StatusCounts((), exact=True, excluding="tenant = 9")

    (warning,) = review_statuses(found, StatusValues(), "state", has_running=False)

    assert warning.code is WarningCode.NO_ROW_SELECTED
    assert "RECONCILER_WHERE (tenant = 9) selects none" in str(warning)


def test_many_and_long_values_are_cut() -> None:
    counts = [count(f"s{n}", 2000) for n in range(8)]
    found = StatusCounts([count("x" * 100), *counts], exact=False)

    (warning,) = review_statuses(found, StatusValues(), "state", has_running=False)

    assert f"{'x' * 39}… (about 10), s0 (about 2,000)" in warning.problem
    assert warning.problem.endswith("s3 (about 2,000), …")
