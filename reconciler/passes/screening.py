"""Skipping rows whose workflows visibility reports as open.

One list call answers a whole page, where descriptions take one call per row. Nothing is ever
written because of it: a workflow that visibility does not show as open is described, and so is
every row when its turn in the sweep comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

from reconciler.core.model import Closed, Missing, Observation, Open
from reconciler.core.ports import Probe
from reconciler.core.report.sweep import Sweep
from reconciler.host.steady_clock import steady
from reconciler.passes.pipeline import Page, Screening

#: The observation of a row that was not described.
BY_VISIBILITY = Open("open in visibility", screened=True)
#: The share of a page's descriptions that a list call has to save. Below it most workflows have
#: ended, and the call costs about what it saves, from a quota that is far smaller.
WORTHWHILE = 0.1


class VisibilityScreening(Screening):
    """Asks visibility page by page, as long as that saves calls.

    What a list call costs depends on limits and namespaces: only the probe knows.
    """

    def __init__(
        self,
        probe: Probe,
        sweep: Sweep,
        now: datetime,
        elapsed: Callable[[], float] = steady,
    ) -> None:
        """`now` is the pass's; later times are `now` plus the time elapsed since."""
        self._probe = probe
        self._sweep = sweep
        self._elapsed = elapsed
        self._began = now - timedelta(seconds=elapsed())
        #: Share of open rows in the last page; 1.0 until known.
        self._open = 1.0

    async def screen(self, page: Page) -> None:
        """Answer rows that visibility shows as open, unless it is their turn to be described."""
        saving = self._open * (1 - self._sweep.share)
        asked = _asked(page)
        if asked * saving <= 1 or saving < WORTHWHILE:
            return
        page.screened_at = self._began + timedelta(seconds=self._elapsed())
        page.visible = await self._probe.screen(page.rows, saving)
        # For the next page, which may come before this one's rows are described.
        self._open = 1 - page.visible.count(False) / asked
        for index, (row, is_open) in enumerate(zip(page.rows, page.visible, strict=True)):
            if is_open and not self._sweep.is_due(row.id):
                page.answer(index, BY_VISIBILITY)

    def learn(self, page: Page) -> None:
        """Remember the share of open rows, also of pages that were not screened."""
        if asked := _asked(page):
            self._open = sum(isinstance(each, Open) for each in page.observations) / asked


def _asked(page: Page) -> int:
    """The rows of the page that Temporal is asked about."""
    return sum(bool(row.workflow_id) for row in page.rows)


def disagreements(page: Page) -> Counter[str]:
    """How often the description contradicts visibility, by what visibility said.

    The keys are `open` and `not_open`. A workflow that has closed since visibility was asked is no
    disagreement.
    """
    if page.visible is None:
        return Counter()
    answers = zip(page.visible, page.observations, strict=True)
    return Counter(
        "open" if is_open else "not_open"
        for is_open, found in answers
        if is_open is not None and found is not None and _contradicts(found, page, is_open=is_open)
    )


def _contradicts(found: Observation, page: Page, *, is_open: bool) -> bool:
    if not is_open:
        return isinstance(found, Open)
    if isinstance(found, Closed):
        return page.screened_at is not None and found.close_time < page.screened_at
    return isinstance(found, Missing)
