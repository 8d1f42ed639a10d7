"""What the page reads of the journal and the history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from reconciler.core.errors import DatabaseUnusable
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.journal.lease import PostgresLease
from reconciler.postgres.journal.reader import JournalReader
from reconciler.postgres.journal.recent import FailedPass, Losing, LosingType, Recent
from tests.conftest import Database
from tests.support.tables.past import OURS, pass_over

NOW = datetime(2026, 5, 4, 12, 20, tzinfo=UTC)
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
DAY = 24 * HOUR
SCOPE, NAMESPACE = OURS


def recent(database: Database) -> Recent:
    return Recent(database.engine, SCOPE, NAMESPACE)


class Journal:
    """Writes changes as a pass has journalled them."""

    def __init__(self, database: Database, pass_id: str) -> None:
        self._database, self._pass_id = database, UUID(pass_id)

    async def add(
        self,
        age: timedelta = timedelta(),
        drift: timedelta | None = MINUTE,
        status: str | None = "failed",
        temporal: str = "FAILED",
        by: str | None = "feed",
        of: str | None = "Order",
    ) -> None:
        at = NOW - age
        await self._database.execute(
            "INSERT INTO reconciler.changes (pass_id, changed_at, table_name, row_id, workflow_id,"
            " new_status, temporal_status, close_time, found_by, workflow_type)"
            " VALUES ($1, $2, 'workflow_executions', '1', 'order-1', $3, $4, $5, $6, $7)",
            *(self._pass_id, at, status, temporal),
            *(None if drift is None else at - drift, by, of),
        )


@pytest.fixture
async def journal(database: Database) -> Journal:
    return Journal(database, await pass_over(database))


@pytest.fixture
async def others(database: Database) -> list[Journal]:
    """Those of passes over other rows, by other columns, and in another namespace."""
    scopes = f"{SCOPE} where tenant = 1", f"{SCOPE} by workflow_id, export_status"
    of = [(scope, NAMESPACE) for scope in scopes] + [(SCOPE, "another")]
    return [Journal(database, await pass_over(database, of=each)) for each in of]


async def test_repaired_rows_are_counted_by_hour_of_utc_and_status(
    database: Database, journal: Journal, others: list[Journal]
) -> None:
    for age in (MINUTE, 2 * MINUTE, HOUR):
        await journal.add(age)
    await journal.add(status="completed", temporal="COMPLETED")
    await journal.add(status=None)
    await journal.add(3 * HOUR)
    for other in others:
        await other.add()
    await journal.add(status="running", temporal="UNDO", by="undo")

    zone = ("&" if "?" in database.url else "?") + "timezone=Asia/Kolkata"  # half an hour off
    async with using_engine(database.url + zone) as engine:
        off = Recent(engine, SCOPE, NAMESPACE)
        found = await off.repaired(NOW - 2 * HOUR)

    twelve = NOW.replace(minute=0)
    assert sorted(found) == [
        (twelve - HOUR, "failed", 1),
        (twelve, "completed", 1),
        (twelve, "failed", 2),
        (twelve, "null", 1),
    ]


async def test_types_that_lose_their_last_write_are_those_of_the_metric(
    database: Database, journal: Journal, others: list[Journal]
) -> None:
    assert await recent(database).losing(NOW - DAY, 20) == Losing((), 0, 0)
    await journal.add(drift=timedelta(seconds=0.99))  # the feed was quick
    assert await recent(database).losing(NOW - DAY, 20) == Losing((), 0, 1)
    for drift in (SECOND, MINUTE, HOUR):
        await journal.add(drift=drift)
    await journal.add(HOUR, drift=None)
    await journal.add(drift=timedelta(seconds=0.99), by="sweep")
    await journal.add(temporal="TERMINATED")
    await journal.add(temporal="TIMED_OUT", of="Nightly")
    await journal.add(temporal="COMPLETED", of=None)
    for by in ("once", "backfill", "undo", None):
        await journal.add(by=by)
    await journal.add(temporal="NOT_FOUND")
    await journal.add(DAY + SECOND)
    for other in others:
        await other.add()

    found = await recent(database).losing(NOW - DAY, 20)

    assert found.types == (
        LosingType(
            workflow_type="Order",
            missed=5,
            cut_off=1,
            drift_p50=SECOND,
            drift_max=HOUR,
            newest_at=NOW,
        ),
        LosingType(
            workflow_type="",
            missed=1,
            cut_off=0,
            drift_p50=MINUTE,
            drift_max=MINUTE,
            newest_at=NOW,
        ),
        LosingType(
            workflow_type="Nightly",
            missed=0,
            cut_off=1,
            drift_p50=None,
            drift_max=None,
            newest_at=NOW,
        ),
    )
    assert (found.all_types, found.others) == (3, 6)
    some = await recent(database).losing(NOW - DAY, 1)
    assert (len(some.types), some.all_types, some.others) == (1, 3, 6)


async def test_only_the_newest_changes_by_our_passes_are_read(
    database: Database, journal: Journal, others: list[Journal]
) -> None:
    await journal.add(of="first")
    for other in others:
        await other.add(of="other")
    await journal.add(of="second")
    await journal.add(of="third")
    reader = JournalReader(database.engine)

    newest = await reader.newest(SCOPE, NAMESPACE, 2)
    assert [each.workflow_type for each in newest] == ["third", "second"]
    assert newest[0].workflow_id == "order-1"
    assert await reader.newest("none", NAMESPACE, 2) == []


async def test_only_a_pass_over_every_row_that_was_not_asked_to_stop_has_failed(
    database: Database,
) -> None:
    assert await recent(database).last_failed() is None
    assert await recent(database).last_began() is None
    await pass_over(database, 3 * HOUR, error="away")
    await pass_over(database, 2 * HOUR, error="still away")
    await pass_over(database, HOUR, error="stopped before its end")
    await pass_over(database, MINUTE, error="away", mode="backfill")
    await pass_over(database, MINUTE, error="away", of=("another", NAMESPACE))
    await pass_over(database, MINUTE, error="away", of=(SCOPE, "another"))
    await pass_over(database, MINUTE, error="away", mode="feed")

    failed, began = await recent(database).last_failed(), await recent(database).last_began()

    ((two, one),) = await database.pool.fetch(
        "SELECT min(started_at), max(started_at) FROM reconciler.passes WHERE error LIKE 'st%'"
    )
    assert failed == FailedPass(two, "still away")
    assert began == one


async def test_the_holder_of_the_loops_lease(database: Database) -> None:
    names = ((SCOPE, NAMESPACE, "loop"), (f"{SCOPE} (backfill)", NAMESPACE, "other"))
    for name, namespace, holder in (*names, (SCOPE, "another", "another")):
        assert await recent(database).holder() in (None, "loop")
        lease = PostgresLease(database.engine, name, namespace, holder)
        await lease.claim(timedelta(minutes=5))

    assert await recent(database).holder() == "loop"
    await PostgresLease(database.engine, SCOPE, NAMESPACE, "loop").release()
    assert await recent(database).holder() is None


async def test_a_statement_of_the_page_has_two_seconds(
    database: Database, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.postgres.journal.recent.QUICK", 50)
    async with database.pool.acquire() as other, other.transaction():
        await other.execute("LOCK TABLE reconciler.changes")
        with pytest.raises(DatabaseUnusable, match="statement timeout"):
            await recent(database).repaired(NOW)
