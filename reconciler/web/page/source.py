"""Where the page gets its data."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from reconciler.app.overview.model import Overview, PassesPage, PassPage, RowPage


class PageSource(Protocol):
    """What the page shows.

    No method raises while a server is unreachable, or waits longer than three seconds: then the
    answer holds what was known last, and what went wrong.
    """

    async def overview(self, *, patient: bool = False) -> Overview:
        """The answers to the five questions.

        `patient`: wait for newer ones that are on their way, rather than show the last ones.
        """
        ...

    async def row(self, workflow_id: str) -> RowPage:
        """What is known about the rows of a workflow id, whether or not there are any."""
        ...

    async def passes(self, older_than: str | None, *, with_feed: bool) -> PassesPage:
        """A page of passes; `older_than` is the cursor of the page before, or any text.

        `with_feed`: including those of the closings feed, of which there may be one a second.
        """
        ...

    async def one_pass(self, pass_id: UUID) -> PassPage | str | None:
        """A pass; None if there is none with this id, or why that is not known, in one line."""
        ...
