"""`--wait`: the servers can be reached only some time after the start."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands.command import Command, Result
from tests.support.network.proxy import Proxy, proxy
from tests.support.servers.restartable import restartable_postgres

HURRIED = {"reconciler.app.waiting.PAUSE": 0.05}


@dataclass
class Network:
    """Both servers, behind a network that is down."""

    command: Command
    to_postgres: Proxy
    to_temporal: Proxy

    async def comes_up_during(self, *arguments: str) -> Result:
        """Run the command; one server after the other can be reached."""
        process = await self.command.start(*arguments)
        assert process.stderr is not None
        await process.stderr.readuntil(b"waiting")
        self.to_postgres.heal()
        if arguments[0] == "once":
            await process.stderr.readuntil(b"Temporal at")
            self.to_temporal.heal()
        return await self.command.result(process)


@pytest.fixture(scope="module")
async def postgres() -> AsyncIterator[tuple[str, int]]:
    async with restartable_postgres() as server:
        yield server.url, server.port


@pytest.fixture
async def network(
    postgres: tuple[str, int], temporal_address: str, tmp_path: Path
) -> AsyncIterator[Network]:
    url, port = postgres
    host, _, temporal_port = temporal_address.rpartition(":")
    async with (
        proxy("127.0.0.1", port) as to_postgres,
        proxy(host, int(temporal_port)) as to_temporal,
    ):
        to_postgres.refuse()
        to_temporal.refuse()
        environment = {
            "DATABASE_URL": url.replace(f":{port}/", f":{to_postgres.port}/"),
            "TEMPORAL_ADDRESS": f"127.0.0.1:{to_temporal.port}",
        }
        yield Network(Command(environment, tmp_path, limits=HURRIED), to_postgres, to_temporal)


async def test_migrate_and_once_start_when_the_servers_answer(network: Network) -> None:
    migrated = await network.comes_up_during("migrate", "--wait", "1h")
    network.to_postgres.refuse()
    passed = await network.comes_up_during("once", "--wait", "1h")

    assert (migrated.code, passed.code) == (0, 0), migrated.err + passed.err
    assert "ok: 0 rows" in passed.out


async def test_the_usual_error_follows_when_the_time_is_over(network: Network) -> None:
    network.to_postgres.heal()

    result = await network.command("once", "--wait", "3s")

    assert result.code == 4
    assert "waiting" in result.err
    assert result.err.splitlines()[-1].startswith("reconciler: ")


WRONG: dict[str, Callable[[str], dict[str, str]]] = {
    "database": lambda url: {"DATABASE_URL": url.rpartition("/")[0] + "/nowhere"},
    "table": lambda url: {"RECONCILER_TABLE": "nowhere"},
    "namespace": lambda url: {"TEMPORAL_NAMESPACE": "nowhere"},
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_an_error_that_waiting_cannot_change_is_reported_at_once(
    network: Network, wrong: str
) -> None:
    network.to_postgres.heal()
    network.to_temporal.heal()
    await network.command("migrate")  # so that there is a table, whichever test runs first

    result = await network.command(
        "once", "--wait", "1h", **WRONG[wrong](network.command.environment["DATABASE_URL"])
    )

    assert result.code == 4
    assert "nowhere" in result.err
    assert "waiting" not in result.err


@pytest.mark.parametrize(("command", "wait"), [("once", "soon"), ("once", "-1s"), ("migrate", "")])
async def test_only_durations_are_accepted(network: Network, command: str, wait: str) -> None:
    result = await network.command(command, f"--wait={wait}")

    assert result.code == 2
    assert result.err.startswith("reconciler: --wait must be a number of seconds, or a duration")
