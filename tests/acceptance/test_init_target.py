"""`reconciler init --target`: a section for one more table, in a file that stays as it is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.acceptance.test_refusals import assert_refused
from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.temporal.world import World

TABLE = (
    "CREATE TABLE {} (id text PRIMARY KEY, workflow_id text, run_id text, {} text NOT NULL,"
    " created_at timestamptz DEFAULT now() - interval '1 h', completed_at timestamptz,"
    " error_message text)"
)


@pytest.fixture
async def tables(database: Database, world: World) -> Database:
    """Two more tables, with a row each whose workflow has failed."""
    row = await world.ended(await world.start("fail", "no money"))
    for name, status in (("orders", "status"), ("exports", "state")):
        await database.execute(TABLE.format(name, status))
        await database.execute(
            f"INSERT INTO {name} VALUES ('1', $1, $2, 'running')", row.workflow_id, row.run_id
        )
    return database


async def test_what_it_writes_serves_the_next_command(
    reconciler: Command, tables: Database, tmp_path: Path
) -> None:
    file = tmp_path / "reconciler.toml"

    first = await reconciler("init", "orders", "--target", "orders")
    alone = file.read_bytes()
    second = await reconciler("init", "exports", "--target", "exports")
    passes = [
        await reconciler("once", "--json", "--target", name) for name in ("orders", "exports")
    ]

    assert first.out == (
        "reconciler.toml: [targets.orders] is for table orders: check every line, "
        "then run `reconciler doctor --target orders`\n"
    )
    assert second.out.startswith("reconciler.toml: [targets.exports] is for table exports: ")
    assert file.read_bytes().startswith(alone + b"\n#")
    assert [each.json["written"]["failed"] for each in passes] == [1, 1]


async def test_what_is_set_outside_for_another_table_is_not_taken_over(
    reconciler: Command, tables: Database, tmp_path: Path
) -> None:
    file = tmp_path / "reconciler.toml"
    before = (
        b"\xef\xbb\xbfmax_rps = 7\r\ntable = 'jobs'\r\n[columns]\r\nid = 'key'\r\n"
        b"completed_at = 'ended'\r\nupdated_at = 'touched'\r\nnamespace = 'space'\r\n"
        b"[statuses]\r\nfailed = 'BROKEN'\r\ntimed_out = 'LATE'"
    )
    file.write_bytes(before)

    written = await reconciler("init", "exports", "--target", "exports")

    assert written.out.splitlines()[1:] == [
        "what stands above is for all targets now: the table there needs a section, too"
    ]
    content = file.read_bytes()
    assert content.startswith(before + b"\r\n\r\n#")
    assert b"\n" not in content.replace(b"\r\n", b"")
    section = tomllib.loads(content.decode("utf-8-sig"))["targets"]["exports"]
    assert section["columns"] == {
        **{name: name for name in ("id", "workflow_id", "run_id", "created_at")},
        **{name: name for name in ("completed_at", "error_message")},
        "status": "state",
        "updated_at": "",
        "namespace": "",
    }
    assert section["statuses"] == {
        **{name: name for name in ("running", "completed", "failed")},
        "timed_out": "failed",
    }


@pytest.mark.parametrize(
    ("before", "arguments", "refusal"),
    [
        ("[targets.a]\n", (), "reconciler.toml has targets (a): name a new one with --target"),
        ("[targets.a]\n", ("--output", "b.toml"), "reconciler.toml has targets (a): name a new "),
        ("[targets.a]\n", ("--target", "a"), "reconciler.toml has the target a already: name anot"),
        ("[targets.a]\n", ("--target", "B"), "--target: 'B' cannot be the name of a target: use "),
        ("targets = {a = {}}", ("orders", "--target", "b"), "reconciler.toml: no section can be "),
        ("targets = 3", ("--target", "b"), "reconciler.toml: targets must be sections: write ["),
        ("table = ", ("--target", "b"), "reconciler.toml: not valid TOML: "),
        ("table = ", (), "reconciler.toml already exists: name another file with --output"),
        ("", ("--target", "b", "--output", "."), ". cannot be read: is a directory, not a file"),
    ],
)
async def test_a_file_without_room_for_the_section_is_left_alone(
    reconciler: Command,
    tables: Database,
    tmp_path: Path,
    before: str,
    arguments: tuple[str, ...],
    refusal: str,
) -> None:
    (tmp_path / "reconciler.toml").write_text(before)

    result = await reconciler("init", *arguments)

    assert_refused(result, 2, refusal)
    assert [each.read_text() for each in tmp_path.glob("*.toml")] == [before]
