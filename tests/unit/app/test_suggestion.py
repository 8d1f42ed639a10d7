"""Whatever names and values a table has, the file is TOML and shows all of it."""

from __future__ import annotations

import tomllib

import pytest

from reconciler.app.suggestion import columns_of, statuses_of, toml_lines
from reconciler.postgres.table.candidates import FoundColumn, FoundTable
from tests.support.hostile import unseen

HOSTILE = 'a\\x"b\x1b[31m\n\x7f\x85\u202e\U000e0041 # c'


def column(name: str, kind: str = "text", *, primary: bool = False) -> FoundColumn:
    return FoundColumn(name, f"{kind} {HOSTILE}", kind, primary, primary, ())


def test_hostile_names_and_values_are_escaped() -> None:
    key, kind = column(HOSTILE, "uuid", primary=True), column("wf_id")
    columns = (key, kind, column("run_id"), column("status"), column("workflow_type"))
    table = FoundTable(HOSTILE, HOSTILE, columns)
    seen = [HOSTILE, "running", "completed", "failed", "queued"]

    found = columns_of(table)
    statuses = {**statuses_of("t", found.status, seen[1:]), "canceled": HOSTILE}
    text = "\n".join(toml_lines(table, found, statuses, seen))

    read = tomllib.loads(text)
    assert read["columns"]["id"] == HOSTILE
    assert read["statuses"]["canceled"] == HOSTILE
    assert read["table"].count(HOSTILE.replace('"', '""')) == 2
    assert unseen(text.replace("\n", "")) == set()


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (["RUNNING"], {"running": "RUNNING", "completed": "COMPLETED", "failed": "FAILED"}),
        (["OK", None], {"running": None, "completed": "OK", "failed": "FAILED"}),
        (["Running"], {"running": "Running", "completed": "Completed", "failed": "Failed"}),
        (
            ["in-progress", "OK", "timed out", "Cancelled", "error", "aborted"],
            {
                "running": "in-progress",
                "completed": "OK",
                "failed": "error",
                "canceled": "Cancelled",
                "terminated": "aborted",
                "timed_out": "timed out",
            },
        ),
    ],
)
def test_values_are_matched_by_their_letters(
    seen: list[str | None], found: dict[str, str | None]
) -> None:
    assert statuses_of("t", column("status"), seen) == found
