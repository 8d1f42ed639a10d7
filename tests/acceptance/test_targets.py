"""Commands about several targets: two tables in one database, and a database that is down."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest

from tests.conftest import Database
from tests.support.commands.command import Command, Result
from tests.support.commands.terminal import at_terminal
from tests.support.temporal.world import World

#: The target in the middle cannot be reached.
CONFIG = """
[targets.orders]
[targets.down]
database_url = "postgresql://app@127.0.0.1:1/app"
[targets.exports]
table = "exports"
"""


@dataclass(frozen=True)
class Targets:
    """A row of a completed workflow in each of two tables."""

    command: Command
    database: Database
    workflow_id: str

    async def __call__(self, *arguments: str) -> Result:
        return await self.command(*arguments)

    def configure(self, text: str) -> None:
        (self.command.folder / "reconciler.toml").write_text(text)

    async def statuses(self) -> list[object]:
        rows = await self.database.fetch(
            "SELECT status FROM workflow_executions UNION ALL SELECT status FROM exports"
        )
        return [row["status"] for row in rows]


@pytest.fixture
async def targets(reconciler: Command, database: Database, world: World) -> Targets:
    await database.execute("CREATE TABLE exports (LIKE workflow_executions INCLUDING ALL)")
    handle = await world.start("complete")
    run_id = (await world.ended(handle)).run_id
    await database.insert(world.workflow_id, run_id)
    await database.execute("INSERT INTO exports SELECT * FROM workflow_executions")
    found = Targets(reconciler, database, world.workflow_id)
    found.configure(CONFIG)
    return found


async def test_a_target_that_is_down_keeps_no_other_from_its_pass(targets: Targets) -> None:
    dry = await targets("once", "--json", "--dry-run")

    assert dry.code == 4
    assert dry.json["outcome"] == "aborted"
    assert list(dry.json["targets"]) == ["orders", "down", "exports"]
    outcomes = {
        name: (part["outcome"], part["scanned"]) for name, part in dry.json["targets"].items()
    }
    assert outcomes == {"orders": ("ok", 1), "down": ("aborted", 0), "exports": ("ok", 1)}
    assert await targets.statuses() == ["running", "running"]

    result = await targets("once")

    assert result.code == 4
    assert await targets.statuses() == ["completed", "completed"]
    headings = re.findall("^[a-z]+:$", result.out, re.MULTILINE)
    assert headings == ["orders:", "down:", "exports:"]
    assert "\nreconciler: down: cannot read workflow_executions: " in result.err, result.err
    finished = [line for line in result.err.splitlines() if " row_finished " in line]
    assert [line.rpartition(" ")[2] for line in finished] == ["target=orders", "target=exports"]


async def test_one_target_is_named(targets: Targets) -> None:
    result = await targets("once", "--json", "--target", "exports")

    assert result.code == 0
    assert result.json["scanned"] == 1
    assert "target=" not in result.err
    assert await targets.statuses() == ["running", "completed"]


async def test_progress_bars_follow_each_other(targets: Targets) -> None:
    await targets.database.execute(
        "INSERT INTO exports (id, workflow_id) SELECT id + 1, 'unknown' FROM exports"
    )
    async with at_terminal(targets.command, "once") as terminal:
        await terminal.prints(": 2 rows in")
        assert await terminal.code() == 4
    bars = [terminal.seen.index(bar) for bar in ("orders:", "0/1 rows", "exports:", "0/2 rows")]
    assert bars == sorted(bars)


async def test_explain_shows_the_targets_that_have_rows(targets: Targets) -> None:
    await targets.database.execute("DELETE FROM workflow_executions")

    shown = await targets("explain", targets.workflow_id)

    assert shown.code == 4
    assert [line for line in shown.out.splitlines() if line.endswith(":")] == ["exports:"]
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("reconciler: down: ")
    as_json = (await targets("explain", targets.workflow_id, "--json")).json["targets"]
    assert [len(as_json[name]["rows"]) for name in ("orders", "exports")] == [0, 1]

    await targets.database.execute("DELETE FROM exports")
    none = await targets("explain", targets.workflow_id)

    assert none.code == 4
    assert none.out == ""
    assert [line.partition(" has no row")[0] for line in none.err.splitlines()[1:]] == [
        "reconciler: orders: workflow_executions",
        "reconciler: exports: exports",
    ]


async def test_an_id_that_no_target_has_is_unresolved(targets: Targets) -> None:
    targets.configure('[targets.orders]\n[targets.exports]\ntable = "exports"\n')

    assert (await targets("explain", targets.workflow_id)).code == 0
    await targets.database.execute("DELETE FROM exports")
    assert (await targets("explain", targets.workflow_id)).code == 0
    await targets.database.execute("DELETE FROM workflow_executions")
    absent = await targets("explain", targets.workflow_id, "--json")
    assert (absent.code, absent.json["outcome"]) == (3, "unresolved")


async def test_the_doctor_examines_all(targets: Targets) -> None:
    found = (await targets("doctor", "--json")).json

    assert found["outcome"] == "failure"
    assert [each["level"] for each in found["findings"]] == ["ok", "skipped"]
    outcomes = {name: part["outcome"] for name, part in found["targets"].items()}
    assert outcomes["down"] == "failure"
    assert {outcomes["orders"], outcomes["exports"]} <= {"ok", "warning"}
    tables = [
        {each["name"]: each["value"] for each in part["settings"]}["RECONCILER_TABLE"]
        for part in found["targets"].values()
    ]
    assert tables == ["workflow_executions", "workflow_executions", "exports"]


async def test_the_doctor_compares_targets(targets: Targets) -> None:
    # Another way to write the folder of the socket, or another name of this host.
    url = re.sub(r"(host=[^&]+)", r"\1/.", targets.database.url)
    if url == targets.database.url:
        url = url.replace("localhost", "127.0.0.1")
    targets.configure(
        f'[targets.orders]\n[targets.copy]\ndatabase_url = "{url}"\nmax_rps = 50\n'
        '[targets.exports]\ntable = "exports"\n'
    )

    examined = await targets("doctor")

    assert examined.code == 4
    _, _, found = examined.out.partition("\nall targets:\n")
    limits, rows, _, end = found.splitlines()
    assert limits.startswith("warning  limits  targets share namespace 'default' at ")
    assert rows.startswith("failure  rows    the targets orders and copy select the same rows: ")
    assert end == "failure: 0 ok, 1 warning, 1 failure"


@pytest.mark.parametrize("way", [[], ["--check"]], ids=["record", "check"])
async def test_stuck_lists_all(targets: Targets, way: list[str]) -> None:
    listed = await targets("stuck", "--json", *way)

    assert listed.code == 4
    parts = listed.json["targets"]
    assert [parts[name]["stuck"] for name in ("orders", "exports")] == [[], []]
    assert "error" in parts["down"] or way


async def passes_of(targets: Targets, *options: str) -> dict[str, str]:
    """The id of the one pass of each target, as listed."""
    listed = [
        json.loads(line) for line in (await targets("passes", "--json", *options)).out.splitlines()
    ]
    found = {each.get("target", ""): each["pass_id"] for each in listed}
    assert len(found) == len(listed)
    return found


async def test_each_target_lists_its_own_passes_and_changes(targets: Targets) -> None:
    await targets("once")

    found = await passes_of(targets)
    assert list(found) == ["orders", "exports"]
    assert await passes_of(targets, "--target", "exports") == {"": found["exports"]}
    listed = await targets("passes")
    assert listed.code == 4
    assert listed.err.startswith("reconciler: down: ")
    assert [line for line in listed.out.splitlines() if line.endswith(":")] == [
        *("orders:", "down:", "exports:")
    ]
    changes = (await targets("changes", "--json")).out.splitlines()
    by_target = {each["target"]: each["pass_id"] for each in map(json.loads, changes)}
    assert by_target == found
    of_pass = await targets("changes", "--json", "--pass", found["exports"])
    assert json.loads(of_pass.out)["target"] == "exports"


async def test_undo_finds_the_target_of_a_pass(targets: Targets) -> None:
    await targets("once")
    found = await passes_of(targets)

    undone = await targets("undo", "--json", found["exports"])

    assert undone.code == 0, undone.err
    assert undone.json["targets"]["exports"]["written"]["running"] == 1
    assert await targets.statuses() == ["completed", "running"]

    beginning = await targets("undo", found["orders"][:8])

    assert beginning.code == 4
    assert "name a target with --target" in beginning.err, "the journal that is down may have one"
    assert await targets.statuses() == ["completed", "running"]
    named = await targets("undo", "--target", "orders", found["orders"][:8])
    assert named.code == 0
    assert named.out.startswith("put back")
    assert await targets.statuses() == ["running", "running"]


async def test_the_last_pass_of_all_targets_is_undone(targets: Targets) -> None:
    targets.configure('[targets.exports]\ntable = "exports"\n[targets.orders]\n')
    await targets("once")

    last = await targets("undo", "--last", "--dry-run")

    assert last.code == 0
    assert last.err.startswith("orders: pass ")
    assert last.out.startswith("orders:\nwould put back")
    targets.configure(CONFIG)
    assert (
        "it is not known which pass is the last"
        in (await targets("undo", "--last", "--dry-run")).err
    )


async def test_a_pass_that_no_target_fits_or_that_none_has(targets: Targets) -> None:
    await targets("once", "--target", "exports")
    found = await passes_of(targets, "--target", "exports")
    targets.configure("[targets.orders]")

    refused = await targets("undo", found[""])

    assert refused.code == 2
    assert f"pass {found['']} was over table exports, which is that of no target" in refused.err
    unknown = await targets("undo", "0" * 32)
    assert unknown.code == 2
    assert f"there is no pass {'0' * 32}" in unknown.err
