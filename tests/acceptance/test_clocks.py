"""Hosts whose clock is wrong, or is set meanwhile: no false write, and no pass left out."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from tests.conftest import Database, with_user
from tests.support.commands.command import Command
from tests.support.commands.daemon import HURRIED, daemon
from tests.support.commands.host_clock import host_clock, needs_faketime
from tests.support.polling import eventually
from tests.support.temporal.world import World

pytestmark = [needs_faketime, pytest.mark.long]

DIFFERS = "clock_differs"
YEARS = timedelta(days=20 * 365)
HOURS = timedelta(hours=5)


def named(shift: object) -> str:
    return f"{shift}"


class TestGrace:
    """A row that was inserted just now is too young, whatever the host takes the time for."""

    @pytest.mark.parametrize(
        ("ahead", "journal"), [(timedelta(seconds=65), "off"), (YEARS, "on")], ids=named
    )
    async def test_a_row_whose_workflow_is_about_to_start_is_not_missing(
        self,
        reconciler: Command,
        database: Database,
        tmp_path: Path,
        ahead: timedelta,
        journal: str,
    ) -> None:
        id_ = await database.insert("about-to-start")
        once = await host_clock(tmp_path, ahead).on(reconciler)(
            "once", "--json", RECONCILER_MISSING="fail", RECONCILER_JOURNAL=journal
        )

        assert once.code == 0, once.err
        assert once.json["left"]["too_young"] == 1
        assert (await database.row(id_))["status"] == "running"

    async def test_a_row_whose_workflow_id_was_used_before_is_not_that_use(
        self, reconciler: Command, database: Database, world: World, tmp_path: Path
    ) -> None:
        await world.ended(await world.start("fail", "the use before"))
        id_ = await database.insert(world.workflow_id)
        ahead = timedelta(minutes=10)
        once = await host_clock(tmp_path, ahead).on(reconciler)("once", "--json")

        assert once.json["left"]["too_young"] == 1
        assert (await database.row(id_))["status"] == "running"

    async def test_explain_and_dry_runs_say_the_same(
        self, reconciler: Command, database: Database, tmp_path: Path
    ) -> None:
        await database.insert("about-to-start")
        command = host_clock(tmp_path, YEARS).on(reconciler)
        explained = await command("explain", "about-to-start", RECONCILER_MISSING="fail")
        dry = await command("once", "--json", "--dry-run", RECONCILER_MISSING="fail")

        assert "younger than RECONCILER_GRACE, it may be about to start" in explained.out
        assert dry.json["left"]["too_young"] == 1

    async def test_a_host_that_is_behind_does_not_take_old_rows_for_young(
        self, reconciler: Command, database: Database, tmp_path: Path
    ) -> None:
        old = datetime.now(UTC) - timedelta(days=3)
        id_ = await database.insert("lost", created_at=old)
        once = await host_clock(tmp_path, -YEARS).on(reconciler)(
            "once", "--json", RECONCILER_MISSING="fail", RECONCILER_MAX_MISSING_RATIO="1"
        )

        assert once.json["written"]["failed"] == 1
        assert "past Temporal's retention" in str((await database.row(id_))["error_message"])


async def test_what_is_recorded_is_by_the_databases_clock(
    reconciler: Command, database: Database, tmp_path: Path
) -> None:
    once = await host_clock(tmp_path, YEARS).on(reconciler)("once", "--json")
    (kept,) = await database.fetch(
        "SELECT started_at, now() - started_at < '1 minute' AS lately, started_at < finished_at"
        " AS in_order FROM reconciler.passes"
    )

    assert (kept["lately"], kept["in_order"]) == (True, True)
    assert once.json["started_at"] == kept["started_at"].isoformat()  # type: ignore[attr-defined]


async def test_an_age_of_a_backfill_is_by_the_databases_clock(
    reconciler: Command, database: Database, tmp_path: Path
) -> None:
    for hours in (1, 3):
        made = datetime.now(UTC) - timedelta(hours=hours)
        await database.insert(f"{hours} h old", created_at=made)
    command = host_clock(tmp_path, YEARS).on(reconciler)
    since = await command("backfill", "--json", "--since", "2h")
    until = await command("backfill", "--json", "--until", "2h")
    # By the host's clock each of these windows ends before it begins.
    mixed = await command("backfill", "--json", "--since", "2h", "--until", "2040-01-01")

    assert [each.json["scanned"] for each in (since, until, mixed)] == [1, 1, 1]
    assert "clock_differs" in since.err


async def test_undo_is_recorded_by_the_databases_clock(
    reconciler: Command, database: Database, world: World, tmp_path: Path
) -> None:
    row = await world.ended(await world.start("complete"))
    await database.insert(world.workflow_id, row.run_id)
    command = host_clock(tmp_path, YEARS).on(reconciler)
    done = await command("once", "--json")
    undone = await command("undo", done.json["pass_id"], "--json")

    assert undone.code == 0, undone.err
    kept = await database.fetch("SELECT FROM reconciler.passes WHERE started_at > now()")
    assert kept == []


@pytest.mark.parametrize("arguments", [["once", "--json"], ["once", "--json", "--dry-run"]])
async def test_a_clock_that_differs_is_a_warning_and_no_error(
    reconciler: Command, tmp_path: Path, arguments: list[str]
) -> None:
    right = await host_clock(tmp_path).on(reconciler)(*arguments)
    wrong = await host_clock(tmp_path, -HOURS).on(reconciler)(*arguments)

    assert (right.code, right.err) == (0, "")
    assert wrong.code == 0
    assert wrong.err.count("\n") == wrong.err.count(DIFFERS) == 1


@pytest.mark.parametrize("step", [-HOURS, YEARS], ids=named)
async def test_a_clock_that_is_set_leaves_out_no_pass_and_makes_up_for_none(
    reconciler: Command, database: Database, tmp_path: Path, step: timedelta
) -> None:
    clock = host_clock(tmp_path)
    async with daemon(clock.on(reconciler)) as running:
        await eventually(running.ready)
        clock.set(step)
        await more_passes(database, 2)
        assert (await running.said(DIFFERS))["host_ahead_seconds"] == pytest.approx(
            step.total_seconds(), abs=30
        )
        skew = await running.metric("reconciler_clock_skew_seconds")
        assert skew == pytest.approx(step.total_seconds(), abs=30)
        assert await running.ready()
        clock.set(timedelta())
        await more_passes(database, 2)
        await running.said("clock_agrees")
        assert len(running.logged(DIFFERS)) == 1
        assert await running.stop() == 0

    await assert_no_burst(database)


async def test_cron_times_come_though_the_clock_is_set(
    reconciler: Command, database: Database, tmp_path: Path
) -> None:
    # Ten seconds before the next minute begins.
    ahead = timedelta(seconds=50 - datetime.now(UTC).second)
    clock = host_clock(tmp_path, ahead)
    async with daemon(clock.on(reconciler), "--cron", "* * * * *") as running:
        await eventually(running.ready)
        clock.set(ahead - HOURS)
        await more_passes(database, 1, seconds=70)
        assert await running.stop() == 0


async def test_a_back_off_is_as_long_as_it_is_whatever_the_clock_says(
    reconciler: Command, database: Database, tmp_path: Path
) -> None:
    clock = host_clock(tmp_path)
    command = replace(reconciler, limits={"reconciler.daemon.schedule.FIRST_RETRY": 2})
    async with daemon(clock.on(command)) as running:
        await eventually(running.ready)
        await database.execute("ALTER TABLE workflow_executions RENAME TO gone")
        await running.said("pass_failed")
        clock.set(-HOURS)
        await database.execute("ALTER TABLE gone RENAME TO workflow_executions")
        await more_passes(database, 1, seconds=40)
        assert await running.stop() == 0


async def test_a_suspended_loop_resumes_without_a_burst(
    reconciler: Command, database: Database
) -> None:
    async with daemon(replace(reconciler, limits=HURRIED)) as running:
        await eventually(running.ready)
        running.send(signal.SIGSTOP)
        try:
            await database.execute("SELECT pg_sleep(7)")  # past its lease
        finally:
            running.send(signal.SIGCONT)
        await more_passes(database, 3)
        assert running.logged("lease_given_up") == []
        assert await running.stop() == 0

    assert max(await gaps(database)) > 6
    await assert_no_burst(database)


async def more_passes(database: Database, count: int, seconds: float = 30) -> None:
    """Wait for this many more successful passes."""

    async def ended() -> int:
        (row,) = await database.fetch(
            "SELECT count(*) AS n FROM reconciler.passes WHERE outcome = 'ok'"
        )
        return int(str(row["n"]))

    before = await ended()

    async def passed() -> bool:
        return await ended() >= before + count

    await eventually(passed, seconds)


async def assert_no_burst(database: Database) -> None:
    """No more than one pass a second, and one at once for each time the lease was taken."""
    between = await gaps(database)
    assert len(between) <= sum(between) + 3, between


async def gaps(database: Database) -> list[float]:
    """Seconds from the start of each pass to that of the next."""
    rows = await database.fetch(
        "SELECT extract(epoch FROM started_at - lag(started_at) OVER (ORDER BY started_at))::float8"
        " AS gap FROM reconciler.passes"
    )
    return [float(str(row["gap"])) for row in rows if row["gap"] is not None]


class TestUnreadable:
    """A database whose clock cannot be read is unusable."""

    @pytest.fixture
    async def command(self, reconciler: Command, database: Database) -> AsyncIterator[Command]:
        """For a role that may do everything but that."""
        role = f"timeless_{uuid4().hex[:8]}"
        await database.execute(
            f"CREATE ROLE {role} LOGIN; GRANT SELECT, UPDATE ON workflow_executions TO {role};"
            "REVOKE EXECUTE ON FUNCTION pg_catalog.clock_timestamp() FROM PUBLIC"
        )
        url = with_user(database.url, role)
        variables = {"DATABASE_URL": url, "RECONCILER_JOURNAL": "off"}
        yield replace(reconciler, environment={**reconciler.environment, **variables})
        await database.execute(
            "GRANT EXECUTE ON FUNCTION pg_catalog.clock_timestamp() TO PUBLIC;"
            f"DROP OWNED BY {role}; DROP ROLE {role}"
        )

    @pytest.mark.parametrize("arguments", [[], ["--dry-run"]], ids=["writing", "dry run"])
    async def test_once_is_aborted_and_prints_its_object(
        self, command: Command, database: Database, arguments: list[str]
    ) -> None:
        await database.insert("wf")
        once = await command("once", "--json", *arguments)

        assert once.code == 4
        assert (once.json["outcome"], once.json["scanned"]) == ("aborted", 0)
        assert "cannot read the database's clock: permission denied" in once.err
        assert once.err.count("\n") == 1

    async def test_a_loop_counts_it_and_tries_again(self, command: Command) -> None:
        async with daemon(command) as running:
            failed = await running.said("pass_failed", failures=2)
            assert "cannot read the database's clock" in failed["error"]
            counted = await running.metric("reconciler_passes_total", outcome="aborted")
            assert counted is not None
            assert counted >= 2
            assert await running.stop() == 0
