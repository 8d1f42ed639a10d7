"""Whatever names and values a table has, the file is TOML and shows all of it."""

from __future__ import annotations

import tomllib

import pytest

from reconciler.app.suggested_file import toml_lines
from reconciler.app.suggestion import choose, columns_of, statuses_of
from reconciler.core.errors import ConfigurationError
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


def shipsec() -> FoundTable:
    """A table whose key is the id in Temporal, and whose workflow_id is a definition."""
    columns = (
        column("run_id", primary=True),
        column("workflow_id", "uuid"),
        column("temporal_run_id"),
        column("status"),
        column("close_time", "timestamp with time zone"),
        column("created_at", "timestamp with time zone"),
        column("updated_at", "timestamp with time zone"),
    )
    return FoundTable("public", "workflow_runs", columns)


def written(table: FoundTable, workflow_id: str | None = None, *, unset: bool = True) -> str:
    found = columns_of(table, workflow_id)
    statuses = statuses_of("t", found.status, ["COMPLETED", "FAILED", None])
    return "\n".join(toml_lines(table, found, statuses, ["COMPLETED", "FAILED", None], unset=unset))


def test_the_key_is_not_the_run_id_too() -> None:
    text = written(shipsec())

    columns = tomllib.loads(text)["columns"]
    assert (columns["id"], columns["run_id"]) == ("run_id", "temporal_run_id")
    assert columns["completed_at"] == "close_time"
    assert '# workflow_id = "run_id"' in text


def test_the_key_may_be_the_workflow_id() -> None:
    text = written(shipsec(), "run_id")

    columns = tomllib.loads(text)["columns"]
    assert (columns["workflow_id"], columns["run_id"]) == ("run_id", "temporal_run_id")
    assert "# workflow_id" not in text


@pytest.mark.parametrize("unset", [True, False])
def test_the_time_of_the_last_change_is_named_unless_a_trigger_sets_it(unset: bool) -> None:
    columns = tomllib.loads(written(shipsec(), unset=unset))["columns"]

    assert ("updated_at" in columns) == unset


@pytest.mark.parametrize(
    ("workflow_id", "problem"),
    [
        ("sync-{job}", "--workflow-id: workflow_runs has no column job, only run_id, workflow_id"),
        ("sync-{run_id", "--workflow-id 'sync-{run_id' has a brace without its counterpart"),
        ("sync", "--workflow-id: workflow_runs has no column sync"),
    ],
)
def test_a_workflow_id_that_the_table_cannot_have(workflow_id: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        columns_of(shipsec(), workflow_id)

    assert str(refused.value).startswith(problem)


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ([], "no table has a column like workflow_id: name it with --workflow-id, or say how"),
        (["jobs"], "jobs has no column like workflow_id: name it with --workflow-id, or say how"),
        (["nope"], "there is no table nope in this database"),
    ],
)
def test_a_table_without_a_workflow_id(wanted: list[str], problem: str) -> None:
    table = FoundTable("public", "jobs", (column("id", primary=True), column("status")))

    with pytest.raises(ConfigurationError) as refused:
        choose([table], wanted)

    assert str(refused.value).startswith(problem)
    assert choose([table], ["jobs"], "job-{id}") == table
