"""The commands behind a pooler that is unreachable, or refuses them."""

from __future__ import annotations

from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.daemon import daemon
from tests.support.polling import eventually
from tests.support.servers.pooler import pooler


def through(url: str, reconciler: Command) -> Command:
    return Command({**reconciler.environment, "DATABASE_URL": url}, reconciler.folder)


async def test_one_pass_is_refused_in_one_line(reconciler: Command, database: Database) -> None:
    async with pooler(database.url) as here:
        refused = await through(f"{here.url}?options=-cjit%3Doff", reconciler)("once")

    assert (refused.code, refused.out) == (4, "")
    assert refused.err.startswith(
        "reconciler: cannot read workflow_executions: unsupported startup parameter"
    )
    assert "take it out of DATABASE_URL" in refused.err
    assert refused.err.count("\n") == 1


async def test_the_loop_waits_for_it_and_passes_once_it_is_there(
    reconciler: Command, database: Database
) -> None:
    async def has_passed() -> bool:
        return bool(await database.fetch("SELECT FROM reconciler.passes WHERE outcome = 'ok'"))

    async with pooler(database.url) as here:
        await here.process.stop()
        async with daemon(through(here.url, reconciler)) as running:
            waiting = await running.said("server_unusable")
            await here.process.start()
            await eventually(has_passed)
            assert await running.stop() == 0

    assert "check DATABASE_URL" in str(waiting)
