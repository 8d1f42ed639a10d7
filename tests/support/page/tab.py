"""A tab that notes whatever a page must not do."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

_NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""
#: Only matter when a test fails; a busy machine is slow.
TIMEOUT = 60_000
expect.set_options(timeout=TIMEOUT)

_OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Tab:
    """A page in a browser."""

    page: Page
    #: Errors and warnings on the console, uncaught exceptions and dialogs.
    complaints: list[str] = field(default_factory=list)
    #: The paths that were requested, in their order.
    requests: list[str] = field(default_factory=list)

    async def violations(self) -> list[str]:
        """What the Content-Security-Policy blocked."""
        found: list[str] = await self.page.evaluate("window.violations")
        return found

    async def barriers(self) -> list[str]:
        """What axe finds: barriers for people who see, hear or move otherwise."""
        found = (await Axe().run(self.page)).response["violations"]
        return [
            f"{each['id']}: {[node['html'][:200] for node in each['nodes'][:3]]}" for each in found
        ]

    async def overflow(self) -> int:
        """The pixels by which the page is wider than the window."""
        found: int = await self.page.evaluate(_OVERFLOW)
        return found


@contextlib.asynccontextmanager
async def opened_tab(browser: Browser, url: str = "", **options: Any) -> AsyncIterator[Tab]:
    """A new tab with a profile of its own; `options` are those of Playwright's contexts."""
    context = await browser.new_context(**options)
    try:
        page = await context.new_page()
        page.set_default_timeout(TIMEOUT)
        tab = Tab(page)
        page.on("console", lambda message: _note(tab, message.type, message.text))
        page.on("pageerror", lambda error: tab.complaints.append(f"exception: {error}"))
        page.on("request", lambda request: tab.requests.append(request.url))
        page.on("dialog", lambda dialog: tab.complaints.append(f"dialog: {dialog.message}"))
        if options.get("java_script_enabled", True):
            await page.add_init_script(_NOTE_VIOLATIONS)
        if url:
            await page.goto(url)
        yield tab
    finally:
        await context.close()


def _note(tab: Tab, kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        tab.complaints.append(f"{kind}: {text}")
