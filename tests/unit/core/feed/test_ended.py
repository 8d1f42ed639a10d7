from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.core.feed.ended import Ended, LookEnd, WaitUntil, all_in_one
from tests.support.factories import NOW

SOON, LATER = WaitUntil(NOW), WaitUntil(NOW + timedelta(seconds=9))


@pytest.mark.parametrize(
    ("ends", "together"),
    [
        ([Ended.WRITTEN], Ended.WRITTEN),
        ([Ended.DROP, Ended.OPEN], Ended.OPEN),
        ([Ended.OPEN, Ended.WRITTEN], Ended.WRITTEN),
        ([LATER, Ended.WRITTEN, SOON], SOON),
        ([LATER, Ended.TRY_AGAIN, Ended.WRITTEN], Ended.TRY_AGAIN),
        ([], Ended.DROP),
    ],
)
def test_the_row_that_still_needs_a_look_decides(ends: list[LookEnd], together: LookEnd) -> None:
    assert all_in_one(ends) == together
