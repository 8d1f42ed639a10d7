"""Skipping rows whose workflows visibility reports as open.

One list call answers a whole page, where descriptions take one call per row. Nothing is ever
written because of it: a workflow that visibility does not show as open is described, and so is
every row in its turn, in the stretch of the sweep.
"""

from __future__ import annotations

from reconciler.core.model import Open
from reconciler.core.ports import Probe
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

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        #: Share of open rows in the last page; 1.0 until known.
        self._open = 1.0

    async def screen(self, page: Page) -> None:
        """Answer rows that visibility shows as open."""
        asked = _asked(page)
        if asked * self._open <= 1 or self._open < WORTHWHILE:
            return
        page.visible = await self._probe.screen(page.rows, self._open)
        # For the next page, which may come before this one's rows are described.
        self._open = 1 - page.visible.count(False) / asked
        for index, is_open in enumerate(page.visible):
            if is_open:
                page.answer(index, BY_VISIBILITY)

    def learn(self, page: Page) -> None:
        """Remember the share of open rows, also of pages that were not screened."""
        if asked := _asked(page):
            self._open = sum(isinstance(each, Open) for each in page.observations) / asked


def _asked(page: Page) -> int:
    """The rows of the page that Temporal is asked about."""
    return sum(bool(row.workflow_id) for row in page.rows)


def disagreements(page: Page) -> int:
    """The number of rows that are open, although visibility did not show them so."""
    answers = zip(page.visible or (), page.observations, strict=False)
    return sum(shown is False and isinstance(found, Open) for shown, found in answers)
