"""Real servers for the example's tests, from wheels."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from temporalio.client import Client

from reconciler.demo.servers import postgres_server, temporal_server
from tests.support.servers.leftovers import ended_with_us


@pytest.fixture(scope="session", autouse=True)
def no_leftovers() -> Iterator[None]:
    """Stop the servers when the tests end, even if they are killed."""
    with ended_with_us():
        yield


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """An empty database."""
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[Client]:
    """A client of a new Temporal server."""
    async with temporal_server() as environment:
        yield environment.client
