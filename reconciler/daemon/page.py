"""The page of `run`, by the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.settings.model import Settings
from reconciler.settings.page import PageAccess
from reconciler.web.page.access import Access, is_loopback
from reconciler.web.page.routes import Page
from reconciler.web.page.source import PageSource


def open_page(each: Sequence[Settings], sources: Mapping[str, PageSource]) -> Page | None:
    """The page of these targets, with the source of each by its name; None if it is off.

    Raises `ConfigurationError` if the file with its password cannot be read.
    """
    settings = each[0]  # who may see it is the same for all of them
    if settings.page is PageAccess.OFF:
        return None
    password = settings.password()
    if password is not None:
        password()  # a wrong path is an error at the start, not at the first view
    access = Access(
        is_open=settings.page is PageAccess.OPEN,
        password=password,
        on_loopback=is_loopback(settings.http_host),
    )
    return Page(sources, access, {one.target: one.temporal_ui for one in each})
