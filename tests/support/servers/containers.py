"""The tests' servers in containers, for `pytest --servers=containers`.

Their ports are published on loopback only, so a remote Docker engine does not work. The container
that testcontainers starts to clean up after a killed test run listens on every interface;
TESTCONTAINERS_RYUK_DISABLED=true disables it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import cast

from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer

from tests.support.polling import eventually
from tests.support.servers.answers import temporal_answers

POSTGRES_IMAGE = "postgres:18"
TEMPORAL_IMAGE = "temporalio/temporal:1.9.1"


@contextmanager
def postgres_container() -> Iterator[str]:
    """PostgreSQL; yields a URL with the password of its superuser."""
    container = PostgresContainer(POSTGRES_IMAGE, driver=None)
    # Tests create roles without passwords, which must be able to log in.
    container.with_env("POSTGRES_HOST_AUTH_METHOD", "trust")
    _publish(container, 5432)
    with container:  # until it answers
        yield container.get_connection_url(host="127.0.0.1")


@asynccontextmanager
async def temporal_container(*extra_arguments: str) -> AsyncIterator[str]:
    """Temporal's dev server; yields its address."""
    container = DockerContainer(TEMPORAL_IMAGE)
    flags = ["--headless", "--ip", "0.0.0.0", "--log-level", "error"]
    container.with_command(["server", "start-dev", *flags, *extra_arguments])
    _publish(container, 7233)
    with container:
        address = f"127.0.0.1:{container.get_exposed_port(7233)}"

        async def answers() -> bool:
            return await temporal_answers(address)

        await eventually(answers)
        yield address


def _publish(container: DockerContainer, port: int) -> None:
    """Publish on a free loopback port. The library only passes this value on to Docker."""
    published = cast("dict[str, object]", container.ports)
    published[str(port)] = ("127.0.0.1", None)
