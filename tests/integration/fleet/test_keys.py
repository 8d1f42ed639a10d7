"""Ranges of keys of any type that can be recorded: they go through JSON, and are compared again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.commands.fleet import SPEED, Fleet

#: How the keys of new rows are made, by their type.
MADE = {
    "integer": "nextval('keys')::integer",
    "uuid": "gen_random_uuid()",
    "text": "E'\\u2603 \\'\"' || gen_random_uuid()",
}


@pytest.mark.parametrize("kind", MADE)
async def test_each_row_is_in_one_range(fleet: Fleet, kind: str) -> None:
    stage = fleet.stage
    fleet.settings = {"missing": "fail"}
    for statement in (
        "CREATE SEQUENCE keys",
        "ALTER TABLE workflow_executions ALTER id DROP IDENTITY IF EXISTS",
        "ALTER TABLE workflow_executions ALTER id DROP DEFAULT",
        f"ALTER TABLE workflow_executions ALTER id TYPE {kind} USING id::text::{kind}",
        f"ALTER TABLE workflow_executions ALTER id SET DEFAULT {MADE[kind]}",
    ):
        await stage.database.execute(statement)
    await stage.insert(await stage.closed(), 50)
    await stage.insert_missing(8)
    async with fleet.worker():
        handle = await fleet.start(replace(SPEED, batch_size=4, range_rows=7))
        result = await handle.result()

    report = result.report
    assert (report["scanned"], report["written"]["failed"], report["lost_races"]) == (58, 58, 0)
    assert await stage.journalled() == 58
    undone = await fleet.command("undo", report["pass_id"])
    assert undone.code == 0, undone.err
    assert await stage.statuses() == {"running": 58}
