"""`reconciler backfill`, from the first dry run to the last row."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.client import Client

from tests.conftest import Database, with_user
from tests.support.commands.command import Command
from tests.support.commands.stage import OLD, Stage

APPLY = ("backfill", "--apply", "--yes")


@pytest.fixture
async def stage(database: Database, temporal: Client, workflow_id: str) -> AsyncIterator[Stage]:
    stage = Stage(database, temporal, workflow_id)
    yield stage
    await stage.end()


async def fill(stage: Stage) -> None:
    """Five closed, two open, three missing."""
    await stage.insert(await stage.closed(), 5)
    await stage.insert(await stage.start("open"), 2)
    await stage.insert_missing(3)


class TestDryRun:
    async def test_leaves_every_byte_and_says_what_it_would_write(
        self, reconciler: Command, stage: Stage
    ) -> None:
        await fill(stage)
        before = await stage.contents()

        result = await reconciler("backfill", "--json")

        assert result.code == 0, result.err
        assert result.json["dry_run"] is True
        assert result.json["written"] == {"completed": 0, "failed": 5}
        assert result.json["left"]["open"] == 2
        assert result.json["left"]["expired"] == 3
        assert await stage.contents() == before

    async def test_needs_no_more_than_to_read(self, reconciler: Command, stage: Stage) -> None:
        await fill(stage)
        database, role = stage.database, f"reader_{uuid4().hex[:8]}"
        await database.execute(
            f"CREATE ROLE {role} LOGIN; GRANT SELECT ON workflow_executions TO {role}"
        )
        try:
            result = await reconciler("backfill", DATABASE_URL=with_user(database.url, role))
        finally:
            await database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

        assert result.code == 0, result.err

    async def test_begins_with_what_lies_ahead(self, reconciler: Command, stage: Stage) -> None:
        await fill(stage)

        result = await reconciler("backfill", "--max-rps", "10")

        first, second, *_ = result.err.splitlines()
        assert first.startswith("10 rows of workflow_executions, marked running, created ")
        assert second.startswith("10 rows at 10 calls/s: at least 1 s")

    async def test_says_how_to_write_it(self, reconciler: Command, stage: Stage) -> None:
        await fill(stage)

        result = await reconciler("backfill", "--since", "2d")

        assert "to write this: reconciler backfill --since 2d --apply" in result.out


class TestApply:
    async def test_writes_what_temporal_says(self, reconciler: Command, stage: Stage) -> None:
        await fill(stage)

        result = await reconciler(*APPLY, "--json")

        assert result.code == 0, result.err
        assert result.json["mode"] == "backfill"
        assert await stage.statuses() == {"failed": 5, "running": 5}
        assert await stage.journalled() == 5
        (row,) = await stage.passes()
        assert (row["mode"], row["outcome"], row["cursor"]) == ("backfill", "ok", None)

    async def test_says_how_to_take_it_back(self, reconciler: Command, stage: Stage) -> None:
        await fill(stage)

        result = await reconciler(*APPLY)

        (row,) = await stage.passes()
        assert f"to take it back: reconciler undo {row['id']}" in result.out

    @pytest.mark.parametrize(
        ("options", "rows"),
        [
            (["--since", "2d"], 1),
            (["--until", "2d"], 2),
            (["--since", "20d", "--until", "2d"], 1),
            (["--workflow-type", "Order"], 1),
            (["--workflow-type", "Invoice"], 0),
        ],
    )
    async def test_looks_at_a_window_of_the_rows(
        self, reconciler: Command, stage: Stage, options: list[str], rows: int
    ) -> None:
        closed = await stage.closed()
        for age in (timedelta(days=1), timedelta(days=10), OLD):
            await stage.insert(closed, age=age)
        await stage.database.execute(
            "UPDATE workflow_executions SET workflow_type = 'Order' WHERE id ="
            " (SELECT max(id) FROM workflow_executions)"
        )

        result = await reconciler(*APPLY, *options, "--json")

        assert result.json["scanned"] == result.json["written"]["failed"] == rows
        assert await stage.journalled() == rows

    async def test_a_table_without_types_is_refused_a_type(
        self, reconciler: Command, stage: Stage
    ) -> None:
        await stage.database.execute("ALTER TABLE workflow_executions DROP COLUMN workflow_type")

        result = await reconciler(*APPLY, "--workflow-type", "Order")

        assert result.code == 4
        assert "has no column workflow_type" in result.err
        assert (await reconciler(*APPLY)).code == 0, "nothing else needs them"

    async def test_needs_an_answer_where_there_is_nobody_to_ask(
        self, reconciler: Command, stage: Stage
    ) -> None:
        await fill(stage)
        before = await stage.contents()

        result = await reconciler("backfill", "--apply")

        assert result.code == 2
        assert result.err == (
            "reconciler: --apply needs --yes where there is no terminal to ask on\n"
        )
        assert await stage.contents() == before


class TestMissingRows:
    FAIL = (*APPLY, "--missing", "fail", "--json")

    async def test_are_failed_with_a_text_that_says_that_nobody_knows(
        self, reconciler: Command, stage: Stage
    ) -> None:
        await fill(stage)

        result = await reconciler(*self.FAIL)

        assert result.code == 0, result.err
        assert await stage.statuses() == {"failed": 8, "running": 2}
        texts = await stage.database.fetch(
            "SELECT DISTINCT error_message, completed_at FROM workflow_executions"
            " WHERE workflow_id LIKE '%/missing'"
        )
        assert texts == [
            {
                "error_message": "outcome unknown: past Temporal's retention",
                "completed_at": None,
            }
        ]

    async def test_are_held_back_if_they_are_most(self, reconciler: Command, stage: Stage) -> None:
        await stage.insert_missing(25)
        before = (await stage.contents())[0]  # type: ignore[index]

        result = await reconciler(*self.FAIL)

        assert result.code == 3
        assert result.json["held_back"] == 25
        assert result.json["outcome"] == "unresolved"
        assert (await stage.contents())[0] == before  # type: ignore[index]
        dry = await reconciler("backfill", "--missing", "fail", "--json")
        assert dry.json["held_back"] == 25
        assert dry.json["written"]["failed"] == 0

    @pytest.mark.parametrize("options", [["--force"], ["--max-missing-ratio", "1"]])
    async def test_are_failed_all_the_same_if_that_is_wanted(
        self, reconciler: Command, stage: Stage, options: list[str]
    ) -> None:
        await stage.insert_missing(25)

        result = await reconciler(*self.FAIL, *options)

        assert result.code == 0
        assert await stage.statuses() == {"failed": 25}
        assert await stage.journalled() == 25
