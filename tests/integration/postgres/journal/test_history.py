"""The history in `reconciler.passes`: begin and end, the heartbeat, the sweep, the journal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.policy import StatusValues
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.core.report.sweep import Rest, Swept
from reconciler.postgres.journal.history import PassHistory
from tests.conftest import Database
from tests.support.polling import eventually
from tests.support.tables.past import DAY, OURS, change, pass_over

CREATED = datetime(2026, 11, 1, tzinfo=UTC)


async def finished_at(database: Database, pass_id: str) -> object:
    (row,) = await database.fetch(
        "SELECT finished_at FROM reconciler.passes WHERE id = $1", UUID(pass_id)
    )
    return row["finished_at"]


async def test_the_heartbeat_is_of_the_same_table_and_namespace(database: Database) -> None:
    await pass_over(database)
    engine = database.engine

    for of in [("other", "default"), ("workflow_executions", "other")]:
        assert await PassHistory(engine, *of, StatusValues()).heartbeat() is None


async def test_the_heartbeat_is_the_last_one_by_the_databases_clock(database: Database) -> None:
    ahead = await pass_over(database, age=-2 * DAY)
    await database.execute(
        "UPDATE reconciler.passes SET finished_at = now() - interval '1 hour' WHERE id = $1",
        UUID(ahead),
    )
    last = await pass_over(database)

    beat = await database.history().heartbeat()

    assert beat is not None
    assert beat.finished_at == await finished_at(database, last)
    assert timedelta() <= beat.read_at - beat.finished_at < timedelta(minutes=1)


async def test_a_pass_from_before_the_databases_clock_was_set_back_is_no_heartbeat(
    database: Database,
) -> None:
    await pass_over(database, age=-5 * DAY)
    assert await database.history().heartbeat() is None

    last = await pass_over(database)
    beat = await database.history().heartbeat()

    assert beat is not None
    assert beat.finished_at == await finished_at(database, last)


SWEPT = Swept(CREATED, CREATED, Rest(3, 9))


async def test_the_heartbeat_is_found_by_its_index(database: Database) -> None:
    await database.execute(
        "INSERT INTO reconciler.passes (id, mode, started_at, finished_at, outcome, report, host,"
        " version, table_name, namespace) SELECT gen_random_uuid(), 'run', now(), now(), 'ok',"
        " '{\"duration_seconds\": 1}', 'h', 'v', 'workflow_executions', 'default'"
        " FROM generate_series(1, 5000)"
    )
    await database.execute("ANALYZE reconciler.passes")

    async def index_was_used() -> bool:
        await database.history().heartbeat()
        return await database.fetch(
            "SELECT idx_scan > 0 AS used FROM pg_stat_user_indexes"
            " WHERE indexrelname = 'passes_heartbeat'"
        ) == [{"used": True}]

    await eventually(index_was_used)


async def test_the_beginning_and_the_end_of_a_pass_are_recorded(database: Database) -> None:
    history = database.history()
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=CREATED)

    await history.begin(report)
    (running,) = await database.fetch("SELECT * FROM reconciler.passes")
    report.done.scanned = 7
    await history.end(report)
    (ended,) = await database.fetch("SELECT *, report->>'scanned' AS n FROM reconciler.passes")

    assert running["finished_at"] is None
    assert ended["finished_at"] >= datetime.now(UTC) - timedelta(minutes=1)  # type: ignore[operator]
    assert (ended["outcome"], ended["n"]) == ("ok", "7")


async def test_a_history_that_is_not_there_is_unusable(database: Database) -> None:
    history = database.history()
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=CREATED)
    await database.execute("DROP TABLE reconciler.changes, reconciler.passes")

    with pytest.raises(DatabaseUnusable, match=r"cannot read reconciler\.passes"):
        await history.begin(report)
    with pytest.raises(DatabaseUnusable, match=r"cannot write reconciler\.passes"):
        await history.end(report)


async def test_what_a_pass_has_written_is_counted_by_status(database: Database) -> None:
    history, (one, other) = database.history(), [await pass_over(database) for _ in range(2)]
    await change(database, one, 3)
    await change(database, other)
    await database.execute(
        "UPDATE reconciler.changes SET new_status = 'completed'"
        " WHERE id = (SELECT min(id) FROM reconciler.changes)"
    )

    assert await history.written(one) == {"completed": 1, "failed": 2}
    assert await history.written(other) == {"failed": 1}


class TestSweep:
    async def swept(self, database: Database, of: tuple[str, str] = OURS) -> Swept | None:
        report = PassReport(str(uuid4()), PassRequest("run"), datetime.now(UTC))
        return await PassHistory(database.engine, *of, StatusValues()).begin(report)

    async def test_is_known_to_a_pass_that_is_resumed(self, database: Database) -> None:
        await pass_over(database, swept=SWEPT)
        report = PassReport(str(uuid4()), PassRequest("backfill", asked={}), CREATED, resumed=True)

        assert await database.history().begin(report) == SWEPT

    async def test_each_table_and_namespace_has_its_own(self, database: Database) -> None:
        await pass_over(database, swept=SWEPT)

        for of in [("other", "default"), ("workflow_executions", "other")]:
            assert await self.swept(database, of) is None
        assert await self.swept(database) == SWEPT

    @pytest.mark.parametrize(
        "recorded",
        [
            "report - 'sweep'",
            "report - 'sweep' || '{\"sweep_end\": 0.25}'",
            "report || '{\"sweep\": {}}'",
            "report || '{\"sweep\": [1]}'",
            "jsonb_set(report, '{sweep,rest}', '5')",
            "jsonb_set(report, '{sweep,rest}', '{\"after\": 5}')",
            "jsonb_set(report, '{sweep,began}', '\"yesterday\"')",
            "report #- '{sweep,round_began}'",
        ],
    )
    async def test_is_unknown_after_a_pass_of_a_version_with_another_sweep(
        self, database: Database, recorded: str
    ) -> None:
        await pass_over(database, swept=SWEPT)
        await database.execute(f"UPDATE reconciler.passes SET report = {recorded}")

        assert await self.swept(database) is None


async def test_where_earlier_passes_have_found_workflows(database: Database) -> None:
    history, report = database.history(), PassReport.begin(PassRequest("once"), CREATED)
    await history.begin(report)
    report.found_in.add("this")
    await history.end(report)

    assert await history.found_in({"this", "that"}) == {"this"}
    another = PassHistory(database.engine, "another", "default", StatusValues())
    assert await another.found_in({"this"}) == set()
    await database.execute("DROP SCHEMA reconciler CASCADE")
    assert await history.found_in({"this"}) == set(), "as in a dry run before `migrate`"
