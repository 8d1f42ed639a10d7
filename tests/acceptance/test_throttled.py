"""`reconciler once` before a server that has too much to do."""

from __future__ import annotations

from reconciler.demo.servers import temporal_server
from tests.conftest import Database
from tests.support.commands.command import Command


async def test_an_overloaded_server_ends_the_pass_in_one_line(
    reconciler: Command, database: Database
) -> None:
    await database.insert_many(200, "never-started", None)

    async with temporal_server("--dynamic-config-value", "frontend.rps=20") as environment:
        address = environment.client.service_client.config.target_host
        result = await reconciler("once", TEMPORAL_ADDRESS=address, RECONCILER_MAX_RPS="0")

    assert result.code == 4
    (message,) = [line for line in result.err.splitlines() if line.startswith("reconciler: ")]
    assert message == (
        f"reconciler: the whole Temporal server at {address} is overloaded, not only namespace "
        "'default' (service rate limit exceeded); nothing is lost: wait for the next pass, or run "
        "the command again later"
    )
