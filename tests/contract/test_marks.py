"""What the `Marks` of every process promise: in PostgreSQL, in memory, and in the fake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from reconciler.core.errors import Unusable
from reconciler.core.feed.ports import Marks
from reconciler.core.model import CloseStatus
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.journal.bookkeeping import Bookkeeping
from reconciler.postgres.journal.marks import KEEP
from tests.conftest import Database
from tests.support.factories import NOW
from tests.support.fakes import FakeMarks

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
TWO = {CloseStatus.COMPLETED: NOW, CloseStatus.FAILED: NOW - timedelta(microseconds=1)}


@dataclass(frozen=True)
class Bench:
    #: The marks over a table, as another process has them.
    open: Callable[[str], Marks]
    #: Whether processes know the marks of others.
    recorded: bool


@pytest.fixture(params=["recorded", "unrecorded", "fake"])
async def bench(request: pytest.FixtureRequest, database: Database) -> Bench:
    if request.param == "fake":
        return Bench(lambda _: FakeMarks(), recorded=False)
    if request.param == "unrecorded":
        await database.execute("DROP SCHEMA reconciler CASCADE")
    books = Bookkeeping(database.engine, journal=request.param == "recorded")
    return Bench(books.marks, books.journals)


@pytest.fixture
def marks(bench: Bench) -> Marks:
    return bench.open("jobs")


async def test_before_the_first_are_saved_there_are_none(marks: Marks) -> None:
    assert await marks.load("id-1") is None


async def test_they_are_exactly_those_that_were_saved(marks: Marks) -> None:
    await marks.save("id-1", "name-1", TWO)

    saved = await marks.load("id-1")

    assert saved is not None
    assert saved.marks == TWO


async def test_those_of_before_are_replaced_also_by_earlier_ones(marks: Marks) -> None:
    await marks.save("id-1", "name-1", TWO)
    await marks.save(
        "id-1", "name-1", {CloseStatus.COMPLETED: NOW - MINUTE, CloseStatus.TIMED_OUT: NOW}
    )

    saved = await marks.load("id-1")

    assert saved is not None
    assert saved.marks == {CloseStatus.COMPLETED: NOW - MINUTE, CloseStatus.TIMED_OUT: NOW}


async def test_without_any_none_are_left(marks: Marks) -> None:
    await marks.save("id-1", "name-1", TWO)
    await marks.save("id-1", "name-1", {})

    assert await marks.load("id-1") is None


async def test_each_namespace_has_its_own(marks: Marks) -> None:
    await marks.save("id-1", "name-1", TWO)
    await marks.save("id-2", "name-2", {CloseStatus.FAILED: NOW})

    found = [await marks.load(each) for each in ("id-1", "id-2", "id-3")]

    assert [each and each.marks for each in found] == [TWO, {CloseStatus.FAILED: NOW}, None]


async def test_namespaces_are_known_by_the_names_they_had_last(marks: Marks) -> None:
    assert set(await marks.namespaces()) == set()
    await marks.save("id-1", "before", TWO)
    await marks.save("id-1", "name-1", TWO)
    await marks.save("id-2", "name-2", TWO)

    assert {"name-1", "name-2"} <= set(await marks.namespaces())


async def test_their_age_is_by_the_clock_of_whoever_keeps_them(marks: Marks) -> None:
    await marks.save("id-1", "name-1", TWO)

    saved = await marks.load("id-1")

    assert saved is not None
    assert timedelta() <= saved.age < MINUTE


async def test_another_process_knows_them_if_they_are_recorded(bench: Bench) -> None:
    await bench.open("jobs").save("id-1", "name-1", TWO)

    saved = await bench.open("jobs").load("id-1")

    assert (saved and saved.marks) == (TWO if bench.recorded else None)
    assert await bench.open("jobs where tenant = 7").load("id-1") is None


class TestRecorded:
    @pytest.fixture
    def marks(self, database: Database) -> Marks:
        return Bookkeeping(database.engine, journal=True).marks("jobs")

    @pytest.mark.parametrize(
        ("ahead", "age"),
        [(timedelta(hours=-2), timedelta(hours=2)), (timedelta(hours=2), timedelta())],
        ids=["long ago", "before the clock was set back"],
    )
    async def test_how_old_they_are_is_read_with_them(
        self, database: Database, marks: Marks, ahead: timedelta, age: timedelta
    ) -> None:
        await marks.save("id-1", "name-1", TWO)
        await database.execute(
            "UPDATE reconciler.closings SET saved_at = saved_at + $1::interval", ahead
        )

        saved = await marks.load("id-1")

        assert saved is not None
        assert age <= saved.age < age + MINUTE

    async def test_those_that_nobody_replaces_are_removed(
        self, database: Database, marks: Marks
    ) -> None:
        for name in ("id-old", "id-young"):
            await Bookkeeping(database.engine, journal=True).marks("other").save(name, name, TWO)
        aged = (
            "UPDATE reconciler.closings SET saved_at = now() - $1::interval WHERE namespace_id = $2"
        )
        await database.execute(aged, KEEP + SECOND, "id-old")
        await database.execute(aged, KEEP - MINUTE, "id-young")

        await marks.save("id-1", "name-1", TWO)

        left = await database.fetch("SELECT DISTINCT namespace_id AS id FROM reconciler.closings")
        assert sorted(str(row["id"]) for row in left) == ["id-1", "id-young"]

    async def test_a_status_of_a_later_version_is_ignored(
        self, database: Database, marks: Marks
    ) -> None:
        await marks.save("id-1", "name-1", TWO)
        await database.execute(
            "INSERT INTO reconciler.closings"
            " VALUES ('jobs', 'id-1', 'PAUSED', 'name-1', now(), now())"
        )

        saved = await marks.load("id-1")

        assert saved is not None
        assert saved.marks == TWO


@pytest.mark.parametrize("recorded", [True, False])
async def test_an_unreachable_database_matters_only_if_it_keeps_them(recorded: bool) -> None:
    async with using_engine("postgresql://nobody@127.0.0.1:1/app") as engine:
        marks = Bookkeeping(engine, journal=recorded).marks("jobs")
        failed = None
        try:
            await marks.save("id-1", "name-1", {CloseStatus.FAILED: datetime.now(NOW.tzinfo)})
        except Unusable as error:
            failed = str(error)

    assert ("unreachable" in (failed or "")) == recorded
