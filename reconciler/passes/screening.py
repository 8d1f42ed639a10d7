"""Leaving rows be, for this time, whose workflows visibility shows as open.

One list call tells it of a whole page, where descriptions take one call a row. Nothing is ever
written because of it: whatever it does not show as open is described, and so is each row when its
turn in the sweep comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

from reconciler.core.model import Closed, Missing, Observation, Open
from reconciler.core.ports import Probe
from reconciler.core.sweep import Sweep
from reconciler.host.steady_clock import steady
from reconciler.passes.pipeline import Page, Screening

#: What is known of a row that was not described.
BY_VISIBILITY = Open("open in visibility", screened=True)
#: Of a page's descriptions at least this share has to be saved. Below, where most workflows have
#: ended, a list call costs about what it saves, and takes from a quota that is far smaller.
WORTHWHILE = 0.1


class VisibilityScreening(Screening):
    """Asks visibility page by page, as long as that saves something.

    Only the probe knows what the calls cost: that depends on limits and on namespaces.
    """

    def __init__(
        self,
        probe: Probe,
        sweep: Sweep,
        now: datetime,
        elapsed: Callable[[], float] = steady,
    ) -> None:
        """`now` is the pass's; what time it is later is counted from it."""
        self._probe, self._sweep, self._elapsed = probe, sweep, elapsed
        self._began = now - timedelta(seconds=elapsed())
        #: The share of open rows in the page that was asked about last; before that, hope.
        self._open = 1.0

    async def screen(self, page: Page) -> None:
        """Answer rows that visibility shows as open, unless it is their turn to be described."""
        saving = self._open * (1 - self._sweep.share)
        if len(page.rows) * saving <= 1 or saving < WORTHWHILE:
            return
        page.screened_at = self._began + timedelta(seconds=self._elapsed())
        page.visible = await self._probe.screen(page.rows, saving)
        # Pages that follow at once need not wait for the descriptions to know.
        self._open = 1 - page.visible.count(False) / len(page.rows)
        for index, (row, is_open) in enumerate(zip(page.rows, page.visible, strict=True)):
            if is_open and not self._sweep.is_due(row.id):
                page.answer(index, BY_VISIBILITY)

    def learn(self, page: Page) -> None:
        """Note how many rows are open. Told also by pages that were not screened."""
        self._open = sum(isinstance(each, Open) for each in page.observations) / len(page.rows)


def disagreements(page: Page) -> Counter[str]:
    """How often visibility said other than the description, by what it said: open, not open.

    A workflow that has closed since visibility was asked is no disagreement.
    """
    if page.visible is None:
        return Counter()
    said = zip(page.visible, page.observations, strict=True)
    return Counter(
        "open" if is_open else "not_open"
        for is_open, found in said
        if is_open is not None and found is not None and _contradicts(found, page, is_open=is_open)
    )


def _contradicts(found: Observation, page: Page, *, is_open: bool) -> bool:
    if not is_open:
        return isinstance(found, Open)
    if isinstance(found, Closed):
        return page.screened_at is not None and found.close_time < page.screened_at
    return isinstance(found, Missing)
