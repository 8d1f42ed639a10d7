"""`reconciler passes`, `changes` and `undo`: what was changed, and taking it back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from pydantic import SecretStr

from reconciler.app.wiring import open_app
from reconciler.settings.model import Settings
from tests.acceptance.test_refusals import assert_refused
from tests.conftest import Database, with_user
from tests.support.commands.command import Command, Process, Result
from tests.support.commands.terminal import at_terminal
from tests.support.holding import PATIENT, held_up
from tests.support.polling import PATIENCE, eventually
from tests.support.tables.past import change, pass_over
from tests.support.temporal.world import World

ROWS = 3


@dataclass(frozen=True)
class Journal:
    """A pass of `once` that has finished some rows, and the commands that need no Temporal."""

    command: Command
    database: Database
    workflow_id: str
    pass_id: str
    before: list[dict[str, object]]

    async def __call__(self, *arguments: str, **variables: str) -> Result:
        return await self.command(*arguments, **variables)

    async def table(self) -> list[dict[str, object]]:
        return await self.database.fetch("SELECT * FROM workflow_executions ORDER BY id")

    async def contents(self) -> object:
        """Every byte of every table, and when each row was written last."""
        names = ("workflow_executions", *(f"reconciler.{t}" for t in ("passes", "changes")))
        return [
            await self.database.fetch(
                f"SELECT xmin::text, xmax::text, ctid::text, t::text FROM {name} t ORDER BY id"
            )
            for name in names
        ]


async def finished_rows(database: Database, count: int) -> str:
    """Insert `count` rows that a pass has finished; returns its id."""
    pass_id = await pass_over(database)
    await database.execute(
        "INSERT INTO workflow_executions (workflow_id, status)"
        " SELECT 'wf', 'failed' FROM generate_series(1, $1)",
        count,
    )
    await database.execute(
        "INSERT INTO reconciler.changes (pass_id, table_name, row_id, workflow_id, old_status,"
        " new_status, temporal_status) SELECT $1, 'workflow_executions', id, workflow_id,"
        " 'running', 'failed', 'FAILED' FROM workflow_executions ORDER BY id",
        UUID(pass_id),
    )
    return pass_id


async def notices(process: Process, number: int) -> None:
    """Send a signal, and wait until the process has reacted and sleeps again."""
    watched = psutil.Process(process.pid)
    before = watched.num_ctx_switches().voluntary
    process.send_signal(number)

    async def reacted() -> bool:
        return watched.num_ctx_switches().voluntary > before

    await eventually(reacted)


def lines(result: Result) -> list[dict[str, Any]]:
    """Standard output as JSON lines."""
    return [json.loads(line) for line in result.out.splitlines()]


@pytest.fixture
def offline(database: Database, tmp_path: Path) -> Command:
    """The command without any Temporal to ask."""
    return Command({"DATABASE_URL": database.url}, tmp_path)


@pytest.fixture
async def journal(
    offline: Command, database: Database, world: World, temporal_address: str
) -> Journal:
    row = await world.ended(await world.start("fail", "no money"))
    for number in range(ROWS):
        text = {"error_message": f"attempt {number}"} if number else {}
        await database.insert(row.workflow_id, row.run_id, **text)
    before = await database.fetch("SELECT * FROM workflow_executions ORDER BY id")
    settings = Settings(database_url=SecretStr(database.url))
    address = {"target_host": temporal_address}
    async with open_app(settings, writing=True, temporal=address) as app:
        report = await app.run_pass("once", dry_run=False)
    assert report.tally.written == {"failed": ROWS}
    return Journal(offline, database, row.workflow_id, report.pass_id, before)


class TestUndo:
    async def test_a_dry_run_says_what_it_would_put_back_and_leaves_every_byte(
        self, journal: Journal
    ) -> None:
        before = await journal.contents()

        dry = await journal("undo", journal.pass_id, "--dry-run", "--json")
        human = await journal("undo", journal.pass_id, "--dry-run")

        assert dry.code == human.code == 0, human.err
        assert (dry.json["dry_run"], dry.json["written"]["running"]) == (True, ROWS)
        assert "would put back  running  3" in human.out
        assert "nothing was written" in human.out
        assert await journal.contents() == before

    async def test_a_dry_run_needs_no_more_than_to_read(self, journal: Journal) -> None:
        role = f"reader_{uuid4().hex[:8]}"
        grants = ("USAGE ON SCHEMA reconciler", "SELECT ON ALL TABLES IN SCHEMA reconciler, public")
        await journal.database.execute(f"CREATE ROLE {role} LOGIN")
        try:
            for grant in grants:
                await journal.database.execute(f"GRANT {grant} TO {role}")
            url = with_user(journal.database.url, role)
            dry = await journal("undo", journal.pass_id, "--dry-run", DATABASE_URL=url)
            real = await journal("undo", journal.pass_id, DATABASE_URL=url)
            passes = await journal("passes", DATABASE_URL=url)
            changes = await journal("changes", DATABASE_URL=url)
        finally:
            await journal.database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

        assert [result.code for result in (dry, passes, changes)] == [0] * 3, dry.err
        assert_refused(real, 4, f"role {role} may not use schema reconciler: GRANT ")

    async def test_puts_back_what_the_pass_has_changed(self, journal: Journal) -> None:
        result = await journal("undo", journal.pass_id)

        assert result.code == 0, result.err
        assert "put back  running  3" in result.out
        assert f"ok: 3 changes of pass {journal.pass_id} in" in result.out
        assert "a pass of `once` or `run` would finish these rows again" in result.out
        assert await journal.table() == journal.before

    async def test_is_undone_by_the_same_command(self, journal: Journal) -> None:
        finished = await journal.table()

        first = await journal("undo", journal.pass_id, "--json")
        second = await journal("undo", first.json["pass_id"], "--json")

        assert (first.code, second.code) == (0, 0), second.err
        assert second.json["undone"] == first.json["pass_id"]
        assert second.json["written"] == {"running": 0, "completed": 0, "failed": ROWS}
        assert await journal.table() == finished

    async def test_says_what_it_left_alone_and_why(self, journal: Journal) -> None:
        await journal.database.execute(
            "UPDATE workflow_executions SET status = 'archived' WHERE id = 2"
        )
        result = await journal("undo", journal.pass_id)
        as_json = await journal("undo", journal.pass_id, "--json")

        assert (result.code, as_json.code) == (3, 3)
        assert "left      changed  1  changed by someone else since" in result.out
        assert "row_left" in result.err
        assert f"workflow_id={journal.workflow_id}" in result.err
        assert as_json.json["left"] == {
            "as_before": 2,
            "changed": 1,
            "reused": 0,
            "gone": 0,
            "locked": 0,
            "refused": 0,
            "pruned": 0,
        }
        assert as_json.json["outcome"] == "unresolved"

    @pytest.mark.parametrize("noted", [True, False], ids=["of this table", "of an unknown table"])
    async def test_a_pass_without_changes_changed_nothing(
        self, offline: Command, database: Database, noted: bool
    ) -> None:
        pass_id = await pass_over(database)
        if not noted:
            await database.execute("UPDATE reconciler.passes SET table_name = NULL")

        result = await offline("undo", pass_id)

        assert (result.code, result.out) == (0, f"pass {pass_id} changed nothing\n")

    @pytest.mark.parametrize("changes", ["1", "3"])
    async def test_changes_that_were_pruned_are_reported(
        self, journal: Journal, changes: str
    ) -> None:
        await journal.database.execute(
            "DELETE FROM reconciler.changes WHERE id IN"
            f" (SELECT id FROM reconciler.changes ORDER BY id LIMIT {changes})"
        )

        result = await journal("undo", journal.pass_id, "--json")

        assert result.code == 3
        assert result.json["left"]["pruned"] == int(changes)
        assert result.json["written"]["running"] == ROWS - int(changes)
        again = await journal("undo", journal.pass_id)
        assert "no longer in the journal" in again.out

    async def test_a_pass_that_may_still_write_is_not_undone_for_good(
        self, journal: Journal
    ) -> None:
        await journal.database.execute(
            "UPDATE reconciler.passes SET finished_at = NULL, outcome = NULL, report = NULL"
        )

        result = await journal("undo", journal.pass_id)

        assert result.code == 3
        assert "pass_unended" in result.err
        assert await journal.table() == journal.before

    async def test_a_pass_from_before_it_was_noted_what_it_was_over(self, journal: Journal) -> None:
        await journal.database.execute(
            "UPDATE reconciler.passes SET table_name = NULL, namespace = NULL"
        )
        assert (await journal("undo", journal.pass_id)).code == 0
        assert await journal.table() == journal.before

    async def test_once_finishes_the_rows_again(
        self, reconciler: Command, journal: Journal
    ) -> None:
        finished = await journal.table()
        await journal("undo", journal.pass_id)

        await reconciler("once")

        assert await journal.table() == finished

    async def test_asked_to_stop_it_finishes_the_row_under_way(
        self, offline: Command, database: Database
    ) -> None:
        rows, last = 20, 15
        pass_id = await finished_rows(database, rows)
        patient = replace(offline, limits=PATIENT)
        async with held_up(database, last) as hold:
            process = await patient.start("undo", pass_id, "--json", RECONCILER_BATCH_SIZE="1")
            await hold.reached()
            process.send_signal(signal.SIGTERM)
        stopped = await offline.result(process)
        again = await offline("undo", pass_id, "--json")

        put_back = stopped.json["written"]["running"]
        assert stopped.code == 130
        assert stopped.err.splitlines()[-1] == "reconciler: interrupted"
        assert rows - last < put_back < rows, "the row under way, and not all that follow"
        assert again.code == 0, again.err
        assert again.json["written"]["running"] == rows - put_back
        assert again.json["left"]["as_before"] == put_back

    async def test_asked_twice_it_gives_up_the_row_under_way_and_records_its_end(
        self, offline: Command, database: Database
    ) -> None:
        rows, last = 20, 15
        pass_id = await finished_rows(database, rows)
        patient = replace(offline, limits=PATIENT)
        async with held_up(database, last) as hold:
            process = await patient.start("undo", pass_id, "--json", RECONCILER_BATCH_SIZE="1")
            await hold.reached()
            await notices(process, signal.SIGINT)
            process.send_signal(signal.SIGTERM)
            stopped = await offline.result(process)

        assert stopped.code == 130
        assert stopped.err.splitlines()[-1] == "reconciler: interrupted"
        assert stopped.json["written"]["running"] == rows - last
        assert sum(stopped.json["left"].values()) == 0, "its statement has not timed out"
        (recorded,) = await database.fetch("SELECT * FROM reconciler.passes WHERE mode = 'undo'")
        assert str(recorded["id"]) == stopped.json["pass_id"]
        assert (recorded["outcome"], recorded["finished_at"] is None) == ("aborted", False)

    async def test_a_lost_lease_is_reported_with_what_was_put_back(
        self, offline: Command, database: Database
    ) -> None:
        rows, last = 20, 15
        pass_id = await finished_rows(database, rows)
        claiming = replace(offline, limits={**PATIENT, "reconciler.app.lease.CLAIM_EVERY": 0.2})
        async with held_up(database, last) as hold:
            process = await claiming.start("undo", pass_id, "--json", RECONCILER_BATCH_SIZE="1")
            await hold.reached()
            await database.execute(
                "UPDATE reconciler.lease SET holder = 'other', epoch = epoch + 1,"
                " expires_at = 'infinity'"
            )
            assert process.stderr is not None
            await asyncio.wait_for(process.stderr.readuntil(b"lease_lost"), PATIENCE)
        lost = await offline.result(process)

        assert lost.code == 4
        assert "the lease was lost on the way" in lost.err.splitlines()[-1]
        (recorded,) = await database.fetch("SELECT * FROM reconciler.passes WHERE mode = 'undo'")
        assert str(recorded["id"]) == lost.json["pass_id"]
        assert "the lease was lost on the way" in str(recorded["error"])
        (journalled,) = await database.fetch(
            "SELECT count(*) AS n FROM reconciler.changes WHERE pass_id = $1", recorded["id"]
        )
        assert lost.json["written"]["running"] == journalled["n"] == rows - last + 1

    async def test_waits_for_a_backfill_that_may_be_under_way(
        self, reconciler: Command, journal: Journal
    ) -> None:
        await reconciler("backfill", "--apply", "--yes")
        await journal.database.execute(
            "UPDATE reconciler.lease SET holder = 'other', expires_at = 'infinity'"
        )
        process = await journal.command.start("undo", journal.pass_id)
        assert process.stderr is not None
        waits = await asyncio.wait_for(process.stderr.readline(), PATIENCE)
        put_back_meanwhile = await journal.table() == journal.before
        await journal.database.execute("DELETE FROM reconciler.lease")
        result = await journal.command.result(process)

        assert b"lease_awaited" in waits
        assert not put_back_meanwhile
        assert result.code == 0, result.err
        assert await journal.table() == journal.before

    async def test_the_beginning_of_the_id_is_enough(self, journal: Journal) -> None:
        result = await journal("undo", journal.pass_id[:8], "--json")

        assert (result.code, result.json["undone"]) == (0, journal.pass_id)
        assert await journal.table() == journal.before

    @pytest.mark.parametrize("arguments", [["undo"], ["changes", "--pass"]])
    async def test_the_beginning_of_several_ids_is_refused(
        self, offline: Command, database: Database, arguments: list[str]
    ) -> None:
        ids = [f"6a24dc3{digit}-98b9-42ec-bb42-872caa95267c" for digit in range(6)]
        for each in ids:
            made = UUID(await pass_over(database))
            await database.execute(
                "UPDATE reconciler.passes SET id = $2 WHERE id = $1", made, UUID(each)
            )

        result = await offline(*arguments, "6a24dc3")

        message = f"6a24dc3 is the beginning of several passes: {', '.join(ids[:5])}, …"
        assert_refused(result, 2, message)

    async def test_the_last_pass_is_shown_before_the_question(self, journal: Journal) -> None:
        await pass_over(journal.database)  # a later one, which has changed nothing
        async with at_terminal(journal.command, "undo", "--last") as terminal:
            await terminal.prints("Undo this pass? [y/N]")
            assert f"pass {journal.pass_id}, once, 20" in terminal.seen
            assert f"Z, {ROWS} rows changed" in terminal.seen
            assert await journal.table() != journal.before
            terminal.type("y\n")
            assert await terminal.code() == 0

        assert await journal.table() == journal.before

    async def test_any_other_answer_writes_nothing(self, journal: Journal) -> None:
        before = await journal.contents()
        async with at_terminal(journal.command, "undo", "--last") as terminal:
            await terminal.prints("Undo this pass? [y/N]")
            terminal.type("\x04")  # Ctrl-D
            assert await terminal.code() == 130

        assert await journal.contents() == before

    async def test_without_a_terminal_the_last_pass_can_only_be_looked_at(
        self, journal: Journal
    ) -> None:
        before = await journal.contents()

        refused = await journal("undo", "--last")
        dry = await journal("undo", "--last", "--dry-run", "--json")

        assert_refused(
            refused, 2, "--last asks, which needs a terminal: name a pass of `reconciler passes`"
        )
        assert (dry.code, dry.json["undone"]) == (0, journal.pass_id)
        assert await journal.contents() == before

    @pytest.mark.parametrize("arguments", [[], ["6a24dc3d", "--last"]], ids=["none", "two"])
    async def test_one_pass_has_to_be_named(self, offline: Command, arguments: list[str]) -> None:
        assert_refused(await offline("undo", *arguments), 2, "name one pass, or --last")

    async def test_there_may_be_no_last_pass(self, offline: Command, database: Database) -> None:
        await pass_over(database)

        result = await offline("undo", "--last", "--dry-run")

        assert_refused(result, 2, "no pass in the journal has changed workflow_executions")

    @pytest.mark.parametrize("dry_run", [[], ["--dry-run"]], ids=["for real", "dry run"])
    @pytest.mark.parametrize(
        ("pass_id", "message"),
        [
            pytest.param("yesterday", ["'yesterday' is not the id of a pass"], id="no UUID"),
            pytest.param(
                "0e295662-de0c-44e7-8d52-c43d2d388018",
                [
                    "there is no pass 0e295662-de0c-44e7-8d52-c43d2d388018",
                    "`reconciler passes`",
                    "RECONCILER_JOURNAL_RETENTION, 36 hours",
                ],
                id="no such pass",
            ),
        ],
    )
    async def test_refuses_what_is_no_pass(
        self, offline: Command, pass_id: str, message: list[str], dry_run: list[str]
    ) -> None:
        result = await offline("undo", pass_id, *dry_run, RECONCILER_JOURNAL_RETENTION="36h")

        assert_refused(result, 2, *message)
        assert result.out == ""

    @pytest.mark.parametrize("noted", [True, False], ids=["by the pass", "by its changes"])
    async def test_refuses_a_pass_over_another_table(
        self, offline: Command, database: Database, noted: bool
    ) -> None:
        pass_id = await pass_over(database, of=("t", "default"))
        await change(database, pass_id)
        if not noted:
            await database.execute("UPDATE reconciler.passes SET table_name = NULL")

        result = await offline("undo", pass_id, "--json")

        assert_refused(result, 2, f"pass {pass_id} was over table t", "RECONCILER_TABLE")
        assert result.out == ""
        assert len(await database.fetch("SELECT FROM reconciler.passes")) == 1

    async def test_an_unreachable_database_is_in_the_report(self, offline: Command) -> None:
        undo, away = ("undo", str(uuid4())), "postgresql://u@127.0.0.1:1/d"

        human = await offline(*undo, DATABASE_URL=away)
        as_json = await offline(*undo, "--json", DATABASE_URL=away)

        for result in (human, as_json):
            assert_refused(result, 4, "database is unreachable")
        assert human.out == ""
        assert as_json.json["outcome"] == "aborted"


class TestPasses:
    async def test_lists_what_was_done_newest_first(self, journal: Journal) -> None:
        undo = await journal("undo", journal.pass_id, "--json")

        result = await journal("passes")

        assert (result.code, result.err) == (0, "")
        head, first, second = result.out.splitlines()
        assert head.split()[:4] == ["pass", "started", "mode", "outcome"]
        assert first.startswith(undo.json["pass_id"])
        assert first.endswith(f"running {ROWS}  undo of {journal.pass_id}")
        assert second.startswith(journal.pass_id)
        assert second.endswith(f"failed {ROWS}")

    async def test_lists_those_whose_id_begins_so(self, journal: Journal) -> None:
        await journal("undo", journal.pass_id)

        result = await journal("passes", journal.pass_id[:8])
        none = await journal("passes", f"{int(journal.pass_id[0], 16) ^ 1:x}{journal.pass_id[1:8]}")

        _, line = result.out.splitlines()
        assert line.startswith(journal.pass_id)
        assert none.out == "no passes\n"
        assert_refused(await journal("passes", "x"), 2, "'x' is not the id of a pass")

    async def test_lists_those_of_some_modes(self, journal: Journal) -> None:
        undo = await journal("undo", journal.pass_id, "--json")

        one = await journal("passes", "--mode", "undo", "--limit", "1", "--json")
        both = await journal("passes", "--mode", "undo", "--mode", "once")
        none = await journal("passes", "--mode", "feed")

        assert one.json["pass_id"] == undo.json["pass_id"]
        assert len(both.out.splitlines()) == 1 + 2
        assert none.out == "no passes\n"
        assert_refused(await journal("passes", "--mode", "sweep"), 2, "'sweep' is not one of")

    async def test_json_is_an_object_per_line(self, journal: Journal) -> None:
        await journal("undo", journal.pass_id)

        result = await journal("passes", "--json")

        undo, once = lines(result)
        assert (undo["mode"], undo["asked"]) == ("undo", {"undo": journal.pass_id})
        assert once["pass_id"] == journal.pass_id
        assert once["report"]["written"] == {"completed": 0, "failed": ROWS}

    async def test_no_more_than_the_limit(self, offline: Command, database: Database) -> None:
        for _ in range(3):
            await pass_over(database)

        result = await offline("passes", "--limit", "2")
        as_json = await offline("passes", "--limit", "2", "--json")

        assert len(result.out.splitlines()) == 1 + 2 + 1
        assert result.out.endswith(
            "there are more: reconciler passes --limit N, --mode MODE, or --json\n"
        )
        assert len(lines(as_json)) == 2

    async def test_before_the_first_pass(self, offline: Command) -> None:
        result, as_json = await offline("passes"), await offline("passes", "--json")

        assert (result.code, result.out) == (0, "no passes\n")
        assert (as_json.code, as_json.out) == (0, "")


class TestChanges:
    async def test_tells_what_was_changed_and_on_what_evidence(self, journal: Journal) -> None:
        result = await journal("changes", "--workflow-id", journal.workflow_id)

        assert (result.code, result.err) == (0, "")
        head, *changes = result.out.splitlines()
        assert head.split()[:6] == ["changed", "pass", "found", "by", "row", "workflow"]
        assert len(changes) == ROWS
        assert (
            f"{journal.pass_id}  once      3    {journal.workflow_id}  running → failed"
            in changes[0]
        )
        assert changes[0].endswith("FAILED: OrderFailed: no money")

    async def test_json_has_every_value(self, journal: Journal) -> None:
        result = await journal("changes", "--pass", journal.pass_id, "--json")

        newest, _, _ = lines(result)
        row = (await journal.table())[-1]
        assert newest["row_id"] == str(row["id"])
        assert newest["old"] == {
            "status": "running",
            "completed_at": None,
            "error_message": "attempt 2",
        }
        assert newest["new"]["error_message"] == row["error_message"]
        assert newest["evidence"]["temporal_status"] == "FAILED"
        assert newest["evidence"]["close_time"] == newest["new"]["completed_at"]

    async def test_json_has_all_of_them_and_a_table_the_newest(
        self, offline: Command, database: Database
    ) -> None:
        pass_id = await pass_over(database)
        await change(database, pass_id, 1200)

        as_json = await offline("changes", "--json")
        limited = await offline("changes", "--json", "--limit", "700")
        table = await offline("changes", "--pass", pass_id)

        ids = [each["id"] for each in lines(as_json)]
        assert len(ids) == 1200
        assert ids == sorted(ids, reverse=True)
        assert [each["id"] for each in lines(limited)] == ids[:700]
        assert len(table.out.splitlines()) == 1 + 50 + 1
        assert table.out.endswith(
            f"there are more: reconciler changes --pass {pass_id} --limit N, or --json\n"
        )

    async def test_a_reader_that_goes_away_is_not_a_bug(
        self, offline: Command, database: Database
    ) -> None:
        await change(database, await pass_over(database), 5000)
        read, write = os.pipe()
        environment = {**os.environ, **offline.environment}
        process = await asyncio.create_subprocess_exec(
            offline.program,
            "changes",
            "--json",
            env=environment,
            cwd=offline.folder,
            stdout=write,
            stderr=asyncio.subprocess.PIPE,
        )
        os.close(write)
        first = await asyncio.to_thread(os.read, read, 1)
        os.close(read)
        _, err = await process.communicate()

        assert first == b"{"
        assert (process.returncode, err) == (141, b"")

    async def test_of_an_unknown_pass_there_are_none(self, offline: Command) -> None:
        unknown = str(uuid4())

        assert_refused(await offline("changes", "--pass", unknown), 2, f"no pass {unknown}")
        assert_refused(await offline("changes", "--pass", "x"), 2, "'x' is not the id of a pass")

    async def test_of_an_unknown_workflow_there_are_none(self, offline: Command) -> None:
        result = await offline("changes", "--workflow-id", "nobody")

        assert (result.code, result.out) == (0, "no changes\n")


@pytest.mark.parametrize("command", ["passes", "changes"])
async def test_a_limit_is_at_least_one(offline: Command, command: str) -> None:
    assert_refused(await offline(command, "--limit", "0"), 2, "--limit")


@pytest.mark.parametrize("arguments", [["passes"], ["changes"], ["undo", str(UUID(int=0))]])
async def test_a_database_that_was_never_migrated(
    empty_database: Database, tmp_path: Path, arguments: list[str]
) -> None:
    command = Command({"DATABASE_URL": empty_database.url}, tmp_path)

    assert_refused(await command(*arguments), 4, "reconciler migrate")
