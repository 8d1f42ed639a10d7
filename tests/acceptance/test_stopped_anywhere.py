"""Stopped at any moment, a command records it, reports the truth and exits with 130.

The command sends itself the signals, after some steps of its event loop or some calls of
functions: while connecting, mapping, waiting, counting, writing, recording, printing.
"""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from temporalio.client import Client

from tests.conftest import Database
from tests.support.commands.command import Command, Result
from tests.support.commands.forker import STOPPED
from tests.support.commands.stage import OLD, Stage
from tests.support.properties import examples
from tests.support.servers.ports import free_port

pytestmark = pytest.mark.long

NUMBERS = st.sampled_from([signal.SIGTERM, signal.SIGINT]).map(int)
#: A pass here takes some 300 steps of its event loop, and a hundred thousand calls.
STOPS = st.tuples(NUMBERS, st.just("step"), st.integers(0, 350)) | st.tuples(
    NUMBERS, st.just("call"), st.integers(0, 120_000)
)
#: What comes after the first one comes soon, or has nothing left to stop.
SOON = st.tuples(NUMBERS, st.just("step"), st.integers(0, 12)) | st.tuples(
    NUMBERS, st.just("call"), st.integers(0, 3_000)
)
REQUESTS = st.tuples(STOPS) | st.tuples(STOPS, SOON)
BATCH = 4
LEASED = "SELECT 1 FROM reconciler.lease WHERE expires_at > clock_timestamp()"

at_random = settings(
    examples(3),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass
class Bench:
    """Rows of a closed, an open and an unknown workflow, and commands that are stopped."""

    stage: Stage
    command: Command
    closed: Any
    still_open: Any

    async def reset(self) -> None:
        await self.stage.database.execute(
            "TRUNCATE workflow_executions, reconciler.changes, reconciler.passes, reconciler.lease"
        )
        for _ in range(3):
            await self.stage.insert(self.closed, 4, OLD)
            await self.stage.insert_missing(2)
            await self.stage.insert(self.still_open, 1, OLD)

    async def stopped(self, stops: Sequence[tuple[int, str, int]], *arguments: str) -> Result:
        """What became of a command that was stopped, and how often that was."""
        note = self.command.folder / STOPPED
        note.unlink(missing_ok=True)
        result = await replace(self.command, stops=stops)(*arguments)
        came = note.read_text().count("\n") if note.exists() else 0
        assert "Traceback" not in result.err
        assert "never awaited" not in result.err
        assert "never retrieved" not in result.err
        if came:
            assert result.code == 130, (result, came)
            assert result.err.endswith("reconciler: interrupted\n")
        else:
            assert result.code in (0, 3), result
        return result

    async def is_truthful(self, reported: Mapping[str, Any]) -> None:
        """What is in the rows, the journal and the history is what was reported."""
        database = self.stage.database
        written = {status: count for status, count in reported["written"].items() if count}
        rows = await database.fetch("SELECT * FROM reconciler.passes ORDER BY started_at")
        assert all(row["finished_at"] for row in rows), "recorded as ended"
        changes = await database.fetch(
            "SELECT new_status, count(*) AS n FROM reconciler.changes"
            " WHERE pass_id = $1::text::uuid GROUP BY 1",
            reported["pass_id"],
        )
        assert {row["new_status"]: row["n"] for row in changes} == written
        own = [row for row in rows if str(row["id"]) == reported["pass_id"]]
        assert own or not written
        for row in own:
            noted = json.loads(str(row["report"]))
            assert row["outcome"] == reported["outcome"]
            assert noted["written"] == reported["written"]
            assert noted["scanned"] == reported["scanned"]
        assert await database.fetch(LEASED) == []

    async def finished(self) -> int:
        """How many rows are no longer running; as many as were journalled."""
        statuses = await self.stage.statuses()
        finished = statuses.total() - statuses["running"]
        assert await self.stage.journalled() == finished
        return finished


@pytest.fixture
async def bench(
    reconciler: Command, database: Database, temporal: Client, workflow_id: str
) -> AsyncIterator[Bench]:
    stage = Stage(database, temporal, workflow_id)
    variables = {"RECONCILER_BATCH_SIZE": str(BATCH), "RECONCILER_MAX_RPS": "0"}
    quiet = replace(reconciler, environment={**reconciler.environment, **variables})
    yield Bench(stage, quiet, await stage.closed(), await stage.start("open"))
    await stage.end()


@at_random
@given(stops=REQUESTS)
async def test_once(bench: Bench, stops: Sequence[tuple[int, str, int]]) -> None:
    await bench.reset()

    result = await bench.stopped(stops, "once", "--json")

    await bench.is_truthful(result.json)
    assert await bench.finished() == sum(result.json["written"].values())
    rest = await bench.command("once", "--json")
    assert (rest.code, await bench.finished()) == (0, 12)


@at_random
@given(stops=REQUESTS, again=REQUESTS)
async def test_a_backfill_and_the_one_that_resumes_it(
    bench: Bench, stops: Sequence[tuple[int, str, int]], again: Sequence[tuple[int, str, int]]
) -> None:
    await bench.reset()
    command = ("backfill", "--apply", "--yes", "--missing", "fail", "--force", "--json")

    for each in (stops, again):
        result = await bench.stopped(each, *command)

        await bench.is_truthful(result.json)
    last = await bench.command(*command)

    assert (last.code, await bench.finished()) == (0, 18)
    await bench.is_truthful(last.json)
    assert last.json["scanned"] == sum(last.json["written"].values()) + last.json["left"]["open"]


@at_random
@given(stops=REQUESTS)
async def test_a_dry_run_that_is_kept(bench: Bench, stops: Sequence[tuple[int, str, int]]) -> None:
    await bench.reset()
    folder = bench.command.folder
    for plan in folder.glob("*.jsonl"):
        plan.unlink()

    result = await bench.stopped(stops, "backfill", "--output", "plan.jsonl", "--json")

    assert not list(folder.glob(".plan-*")), "nothing half-written"
    assert (folder / "plan.jsonl").exists() == (result.json["outcome"] == "ok")
    assert await bench.finished() == 0
    assert await bench.stage.passes() == []


@at_random
@given(stops=REQUESTS, again=REQUESTS)
async def test_a_plan_and_the_one_that_resumes_it(
    bench: Bench, stops: Sequence[tuple[int, str, int]], again: Sequence[tuple[int, str, int]]
) -> None:
    await bench.reset()
    plan = Path(bench.command.folder / "plan.jsonl")
    plan.unlink(missing_ok=True)
    assert (await bench.command("backfill", "--output", "plan.jsonl")).code == 0
    command = ("backfill", "--apply", "--yes", "--plan", "plan.jsonl", "--json")

    for each in (stops, again):
        result = await bench.stopped(each, *command)

        await bench.is_truthful(result.json)
    last = await bench.command(*command)

    assert (last.code, await bench.finished()) == (0, 12)


@at_random
@given(stops=REQUESTS)
async def test_an_undo(bench: Bench, stops: Sequence[tuple[int, str, int]]) -> None:
    await bench.reset()
    done = await bench.command("once", "--json")
    undo = ("undo", done.json["pass_id"], "--json")

    result = await bench.stopped(stops, *undo)

    await bench.is_truthful(result.json)
    assert (await bench.stage.statuses())["running"] == 9 + result.json["written"]["running"]
    assert (await bench.command(*undo)).code == 0
    assert (await bench.stage.statuses())["running"] == 21


@at_random
@given(
    stops=REQUESTS,
    command=st.sampled_from(["migrate", "doctor", "doctor --json", "explain nobody", "passes"]),
)
async def test_what_is_no_pass(
    bench: Bench, stops: Sequence[tuple[int, str, int]], command: str
) -> None:
    await bench.reset()

    await bench.stopped(stops, *command.split())

    assert (await bench.command("migrate")).code == 0
    assert await bench.finished() == 0
    assert await bench.stage.passes() == []


@at_random
@given(number=NUMBERS, steps=st.integers(0, 600))
async def test_the_loop(bench: Bench, number: int, steps: int) -> None:
    await bench.reset()
    variables = {"RECONCILER_HTTP_PORT": str(free_port()), "RECONCILER_INTERVAL": "1s"}

    result = await replace(bench.command, stops=[(number, "step", steps)])("run", **variables)

    assert (result.code, result.out) == (0, ""), result
    assert "Traceback" not in result.err
    assert "never" not in result.err
    rows = await bench.stage.passes()
    assert all(row["finished_at"] for row in rows), "recorded as ended"
    written = [sum(json.loads(str(row["report"]))["written"].values()) for row in rows]
    assert await bench.finished() == sum(written)
    assert await bench.stage.database.fetch(LEASED) == []
