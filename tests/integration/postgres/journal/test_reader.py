"""Reading the journal and the history, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar
from uuid import UUID, uuid4

import pytest

from reconciler.core.errors import DatabaseUnfit
from reconciler.postgres.connection.engine import open_engine
from reconciler.postgres.journal import reader as module
from reconciler.postgres.journal.reader import JournalReader
from reconciler.postgres.journal.schema_check import check_readable
from tests.conftest import Database, with_user
from tests.integration.postgres.journal.test_undo import STALE, failed, finish, rows
from tests.support.factories import CLOSE_TIME
from tests.support.tables.past import DAY, change, pass_over

T = TypeVar("T")


async def everything(pages: AsyncIterator[Sequence[T]]) -> list[T]:
    return [entry async for page in pages for entry in page]


@pytest.mark.parametrize("page", [2, 5, 500])
async def test_passes_come_newest_first_and_no_more_than_asked_for(
    database: Database, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(module, "PAGE", page)
    ids = [await pass_over(database, DAY * age) for age in (3, 1, 5, 2, 4)]
    newest_first = [ids[i] for i in (1, 3, 0, 4, 2)]

    for limit in (1, 2, 3, 4, 5, 6, 100):
        read = await everything(JournalReader(database.engine).passes(limit))

        assert [str(stored.id) for stored in read] == newest_first[:limit], limit


async def test_passes_that_began_at_the_same_moment_are_all_listed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    ids = {await pass_over(database) for _ in range(5)}
    await database.execute("UPDATE reconciler.passes SET started_at = now()")

    read = await everything(JournalReader(database.engine).passes(100))

    assert sorted(str(stored.id) for stored in read) == sorted(ids)


async def test_a_pass_is_read_completely(database: Database) -> None:
    pass_id = await pass_over(database, mode="once", error="away", of=("jobs", "prod"))

    (found,) = await JournalReader(database.engine).find(pass_id, 2)

    as_json = dict(found.as_json())
    assert as_json.pop("report")["scanned"] == 0
    assert as_json.pop("host")
    assert as_json.pop("version")
    assert as_json.pop("started_at") == as_json.pop("finished_at")
    assert as_json == {
        "pass_id": pass_id,
        "mode": "once",
        "table": "jobs",
        "namespace": "prod",
        "outcome": "aborted",
        "error": "away",
        "asked": None,
    }


async def test_the_table_of_an_old_pass_is_known_from_its_changes(database: Database) -> None:
    with_changes, without = await pass_over(database), await pass_over(database)
    await change(database, with_changes)
    await database.execute("UPDATE reconciler.passes SET table_name = NULL, namespace = NULL")
    reader = JournalReader(database.engine)

    found = [await reader.find(pass_id, 2) for pass_id in (with_changes, without)]

    assert [stored.table for (stored,) in found] == ["t", None]


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("6a24dc3d-98b9-42ec-bb42-872caa95267c", ["6a24dc3d-98b9-42ec-bb42-872caa95267c"]),
        ("6A24DC3D98B9", ["6a24dc3d-98b9-42ec-bb42-872caa95267c"]),
        ("6a24dc3", [f"6a24dc3{digit}-98b9-42ec-bb42-872caa95267c" for digit in "0df"]),
        ("6a24dc3e", []),
    ],
)
async def test_a_pass_is_found_by_the_beginning_of_its_id(
    database: Database, prefix: str, found: list[str]
) -> None:
    for first in ("6a24dc30", "6a24dc3d", "6a24dc3f", "6a24dc40", "6a24dc2f"):
        await database.execute(
            "UPDATE reconciler.passes SET id = $2 WHERE id = $1",
            UUID(await pass_over(database)),
            UUID(f"{first}-98b9-42ec-bb42-872caa95267c"),
        )
    reader = JournalReader(database.engine)

    assert [str(stored.id) for stored in await reader.find(prefix, 9)] == found
    listed = await everything(reader.passes(9, prefix))
    assert sorted(str(stored.id) for stored in listed) == found


async def test_the_pass_over_a_scope_that_has_written_last(database: Database) -> None:
    first, last = [await pass_over(database, of=("t", "default")) for _ in range(2)]
    other = await pass_over(database, of=("t where tenant = 1", "default"))
    await pass_over(database, of=("t", "default"))  # which has changed nothing
    reader = JournalReader(database.engine)
    assert await reader.last_writing("t") is None

    await change(database, first, 2)
    await change(database, last, 3)
    await change(database, other)

    assert await reader.last_writing("t") == (UUID(last), 3)
    assert await reader.last_writing("t where tenant = 1") == (UUID(other), 1)
    await database.execute("UPDATE reconciler.passes SET table_name = NULL")  # as of revision 0002
    assert await reader.last_writing("t") == (UUID(other), 1)


@pytest.mark.parametrize("page", [2, 5, 500])
async def test_changes_come_newest_first_all_of_them_or_as_many_as_asked_for(
    database: Database, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(module, "PAGE", page)
    await rows(database, 5)
    newest_first = await database.fetch("SELECT id FROM reconciler.changes ORDER BY id DESC")

    for limit in (1, 2, 3, 4, 5, 6, None):
        read = await everything(JournalReader(database.engine).changes(limit))

        assert [c.id for c in read] == [row["id"] for row in newest_first[:limit]], limit


async def test_those_of_one_pass_or_of_one_workflow_id(database: Database) -> None:
    first = await rows(database, 3)
    second = await finish(database, [failed(await database.insert("wf-4", "run-4"))])
    reader = JournalReader(database.engine)

    of_second = await everything(reader.changes(None, UUID(second)))
    of_workflow = await everything(reader.changes(None, None, "wf-2"))
    of_both = await everything(reader.changes(None, UUID(second), "wf-2"))

    assert [c.workflow_id for c in of_second] == ["wf-4"]
    assert [(c.workflow_id, str(c.pass_id)) for c in of_workflow] == [("wf-2", first)]
    assert of_both == []


async def test_a_change_is_read_completely(database: Database) -> None:
    pass_id = await rows(database, 1)

    (read,) = await everything(JournalReader(database.engine).changes(None))

    as_json = dict(read.as_json())
    assert isinstance(as_json.pop("id"), int)
    assert as_json.pop("changed_at")
    assert as_json == {
        "pass_id": pass_id,
        "table": "workflow_executions",
        "row_id": "1",
        "found_by": None,
        "workflow_id": "wf-1",
        "run_id": "run-1",
        "old": {
            "status": "running",
            "completed_at": STALE.isoformat(),
            "error_message": "stale 1",
        },
        "new": {
            "status": "failed",
            "completed_at": CLOSE_TIME.isoformat(),
            "error_message": "boom",
        },
        "evidence": {
            "temporal_status": "COMPLETED",
            "final_run_id": "run-last",
            "close_time": CLOSE_TIME.isoformat(),
            "workflow_type": None,
        },
    }


async def test_a_time_that_python_cannot_hold_does_not_end_the_list(database: Database) -> None:
    await database.insert("wf-1", "run-1")
    await database.execute("UPDATE workflow_executions SET completed_at = 'infinity'")
    await finish(database, [failed(1)])

    (read,) = await everything(JournalReader(database.engine).changes(None))

    assert (read.old.completed_at, read.new.completed_at) == (None, CLOSE_TIME)


async def test_to_read_three_tables_is_all_that_is_needed(database: Database) -> None:
    role = f"reader_{uuid4().hex[:8]}"
    await database.execute(f"CREATE ROLE {role} LOGIN")
    engine = open_engine(with_user(database.url, role))
    try:
        with pytest.raises(DatabaseUnfit) as refused:
            await check_readable(engine)
        grants = str(refused.value).partition(": ")[2]
        await database.execute(grants)
        await check_readable(engine)
    finally:
        await engine.dispose()
        await database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    assert grants.count("GRANT") == 4


async def test_a_schema_of_another_revision_is_not_read(database: Database) -> None:
    await database.execute("UPDATE reconciler.alembic_version SET version_num = '0001'")

    with pytest.raises(DatabaseUnfit, match="run `reconciler migrate`"):
        await check_readable(database.engine)
