"""A source of data for the page, which answers what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from reconciler.app.overview.model import Overview, PassesPage, PassPage, RowPage
from reconciler.web.page.access import Access
from reconciler.web.page.routes import Page
from reconciler.web.page.source import PageSource
from tests.support.page import views


@dataclass
class FakeSource:
    """Implements `PageSource`."""

    view: Overview = field(default_factory=views.overview)
    #: Any other workflow id is that of an ordinary row.
    rows: dict[str, RowPage] = field(default_factory=dict)
    #: The pass of any id; None: there is none.
    one: PassPage | str | None = ""
    asked: list[str] = field(default_factory=list)

    async def overview(self, *, patient: bool = False) -> Overview:
        self.asked.append("overview")
        return self.view

    async def row(self, workflow_id: str) -> RowPage:
        self.asked.append(workflow_id)
        return self.rows.get(workflow_id) or views.row_page(workflow_id)

    async def passes(self, older_than: str | None, *, with_feed: bool) -> PassesPage:
        self.asked.append(f"{older_than}{'' if with_feed else ' without the feed'}")
        return views.passes_page()

    async def one_pass(self, pass_id: UUID) -> PassPage | str | None:
        self.asked.append(str(pass_id))
        return views.pass_page(pass_id) if self.one == "" else self.one


def page_of(
    sources: PageSource | Mapping[str, PageSource],
    access: Access = Access(is_open=True),  # noqa: B008 - frozen
    temporal_ui: str | None = None,
) -> Page:
    """The page of this source, or of these targets."""
    each = sources if isinstance(sources, Mapping) else {"": sources}
    return Page(each, access, dict.fromkeys(each, temporal_ui))
