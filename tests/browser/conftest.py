"""One browser for all tests of a worker, and a page to look at."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.support.page.browser import launched
from tests.support.page.serving import Site, served
from tests.support.page.source import FakeSource


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with launched() as browser:
        yield browser


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with served(FakeSource()) as site:
        yield site
