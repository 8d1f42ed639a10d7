"""An expression that never ends on a text that somebody has sent: nothing stands still."""

from __future__ import annotations

import pytest

from reconciler.core.redaction import UNSEARCHED
from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.daemon import daemon
from tests.support.polling import eventually
from tests.support.temporal.world import World

SECRET = "aaaa"
#: Failed workflows with such a text: many times what the expression has for one of them.
ROWS = 6


@pytest.fixture
async def ids(database: Database, world: World) -> list[int]:
    failed = await world.ended(await world.start("fail", SECRET * 2_000 + "!"))
    return [await database.insert(failed.workflow_id, failed.run_id) for _ in range(ROWS)]


async def test_probes_are_answered_and_rows_are_written_without_the_text(
    reconciler: Command, database: Database, ids: list[int]
) -> None:
    async with daemon(reconciler, RECONCILER_REDACT="(a+)+$") as running:
        answers = 0

        async def all_are_finished() -> bool:
            nonlocal answers
            assert (await running.get("/livez")).status_code == 200
            answers += 1
            rows = [await database.row(id_) for id_ in ids]
            return all(row["status"] == "failed" for row in rows)

        await running.said("loop_started")
        await eventually(all_are_finished)
        await running.said(
            "failures_replaced",
            failures=ROWS,
        )
        assert answers > 1

    for id_ in ids:
        assert (await database.row(id_))["error_message"] == UNSEARCHED
    (found,) = await database.fetch(
        "SELECT count(*) AS texts FROM reconciler.changes WHERE new_error_message LIKE $1",
        f"%{SECRET}%",
    )
    assert found["texts"] == 0
    assert SECRET not in str(running.lines)


async def test_explain_shows_no_text_that_could_not_be_searched(
    reconciler: Command, database: Database, ids: list[int]
) -> None:
    row = await database.row(ids[0])
    await database.execute("DELETE FROM workflow_executions WHERE id <> $1", ids[0])

    result = await reconciler("explain", str(row["workflow_id"]), RECONCILER_REDACT="(a+)+$")

    assert "RECONCILER_REDACT took too long" in " ".join(result.out.split())
    assert SECRET not in result.out + result.err
