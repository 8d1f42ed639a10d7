"""A real browser: Debian's Chromium, which Playwright drives."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator

from playwright.async_api import Browser, async_playwright

#: Headless, as root in a container, and without connections of its own.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str:
    """The path of Chromium. Without one, tests fail: they are not skipped."""
    for name in _NAMES:
        if path := shutil.which(name):
            return path
    raise FileNotFoundError("no Chromium: run `make browser` as root, or install it")


@contextlib.asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    """A browser with an empty profile."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find_browser(), args=list(ARGUMENTS)
        )
        try:
            yield browser
        finally:
            await browser.close()
