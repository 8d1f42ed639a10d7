"""Real servers for the example's test, from wheels."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from temporalio.client import Client

from reconciler.demo.servers import postgres_server, temporal_server
from tests.support.servers.leftovers import ended_with_us


@pytest.fixture(scope="session", autouse=True)
def no_leftovers() -> Iterator[None]:
    """The servers end with the tests, even with those that are killed."""
    with ended_with_us():
        yield


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """A database of the example's own."""
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[Client]:
    """A client of a Temporal server of the example's own."""
    async with temporal_server() as environment:
        yield environment.client
