"""A role with the rights that docs/security.md grants, and no others."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from temporalio.client import Client

from reconciler.app import undo as journal
from reconciler.app.apply_plan import run_plan
from reconciler.app.backfill import Request, run_backfill
from reconciler.app.explain import explain
from reconciler.app.stuck.recorded import open_record
from reconciler.app.wiring import open_app
from reconciler.cli.main import run
from reconciler.core.errors import DatabaseUnfit
from reconciler.core.model import Mode
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.core.stuck.summary import ALL
from reconciler.daemon.health import Health
from reconciler.daemon.loop import Loop
from reconciler.daemon.page_source import LoopPage
from reconciler.daemon.schedule import Every
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.journal.schema_check import check_schema
from reconciler.postgres.table.mapping import map_table
from reconciler.postgres.table.names import TableMapping
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from reconciler.web.metrics.gauges import Gauges
from reconciler.web.metrics.passes import PassMetrics
from tests.conftest import Database, with_user
from tests.support.commands.stage import Stage
from tests.support.passes.operator import Operator
from tests.support.polling import eventually
from tests.support.stuck import Entries, row_at_risk, stuck_row
from tests.support.tables.past import pass_over

DOCS = Path(__file__).parents[2] / "docs" / "security.md"
#: The role's name in the docs.
NAME = "reconciler_app"
PASSED = {"mode": "run", "outcome": "ok"}


def documented(heading: str) -> str:
    """The SQL statements of a section."""
    section = DOCS.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    return str(block)


@dataclass(frozen=True)
class Role:
    name: str
    url: str

    def adapt(self, sql: str) -> str:
        """Replace the role's name in the docs by this one's."""
        return sql.replace(NAME, self.name)


@pytest.fixture
async def role(database: Database) -> AsyncIterator[Role]:
    name = f"app_{uuid4().hex[:8]}"
    yield Role(name, with_user(database.url, name))
    await database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
async def stage(database: Database, temporal: Client, workflow_id: str) -> AsyncIterator[Stage]:
    stage = Stage(database, temporal, workflow_id)
    yield stage
    await stage.end()


@pytest.fixture
def settings(
    role: Role, temporal_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Settings]:
    """Load the settings of a process that uses the role."""
    for name in os.environ:
        if name.upper().startswith(("RECONCILER_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", role.url)
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    return lambda **given: load_settings(Settings, **given)


async def once(settings: Settings, *, dry_run: bool = False) -> PassReport:
    async with open_app(settings, writing=not dry_run) as app:
        return await app.run_pass("once", dry_run=dry_run)


async def backfill(settings: Settings) -> PassReport:
    report = await run_backfill(settings, Request(apply=True), Operator())
    assert report is not None
    return report


async def loop_over(settings: Settings) -> Gauges:
    """Run the loop until it has passed once and is ready; return its gauges."""
    schedule = Every(timedelta(hours=1))
    health, metrics = Health(schedule, CollectorRegistry()), CollectorRegistry()
    async with open_app(settings, writing=True, looping=True) as app:
        loop = Loop(app, schedule, PassMetrics(metrics, Mode.RUN), health)
        running = asyncio.create_task(loop.run())

        async def is_done() -> bool:
            done = metrics.get_sample_value("reconciler_passes_total", PASSED)
            return bool(done) and (await health.readiness())[0]

        try:
            await eventually(is_done)
            page = LoopPage(health, settings, {"target_host": "localhost:7233"})
            assert (await page.overview()).unavailable == ()
            return health.gauges()
        finally:
            running.cancel()
            await asyncio.wait({running})


async def one_more(stage: Stage) -> None:
    await stage.insert(await stage.closed(uuid4().hex))


async def test_the_documented_rights_are_enough_for_everything(
    database: Database, role: Role, stage: Stage, settings: Callable[..., Settings]
) -> None:
    await database.execute(role.adapt(documented("What the database role may do")))
    await one_more(stage)

    assert (await once(settings(), dry_run=True)).tally.written == {"failed": 1}
    passed = await once(settings())
    undone = await journal.undo(settings(), passed.pass_id, dry_run=False)
    filled = await backfill(settings())
    await one_more(stage)
    await loop_over(settings())

    assert (passed.error, undone.error, filled.error) == (None, None, None)
    assert passed.tally.written == filled.tally.written == {"failed": 1}
    assert undone.outcome is PassOutcome.OK
    assert await stage.statuses() == {"failed": 2}
    async with journal.open_journal(settings()) as reader:
        modes = {stored.mode async for page in reader.passes(9) for stored in page}
    # The feed may find the row before the first pass of the loop does.
    assert modes - {"feed"} == {"run", "backfill", "undo", "once"}


async def test_stuck_rows_are_listed_with_rights_to_read(
    database: Database,
    role: Role,
    settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Temporal is neither asked nor configured."""
    monkeypatch.delenv("TEMPORAL_ADDRESS")
    tables = ("alembic_version", "passes", "stuck", "at_risk")
    given = ["workflow_executions", *(f"reconciler.{name}" for name in tables)]
    await database.execute(
        f"CREATE ROLE {role.name} LOGIN; GRANT USAGE ON SCHEMA reconciler TO {role.name};"
        f" GRANT SELECT ON {', '.join(given)} TO {role.name}"
    )
    stuck, unknown = [await database.insert(name) for name in ("wf-1", "wf-2")]

    async with open_record(settings()) as record:
        never = await record.report(ALL)
        await pass_over(database)
        nothing = await record.report(ALL)
        entries = await Entries.of(database)
        await entries.record([stuck_row(stuck)], [row_at_risk(unknown, reason="unknown")], [])
        some = await record.report(ALL)
        (row,) = [row async for page in record.rows(ALL, None) for row in page]

    assert (never.never_checked, never.checked_at, never.is_certain) == (True, None, False)
    assert (nothing.never_checked, nothing.is_certain) == (False, True)
    assert nothing.checked_at is not None
    assert (sum(some.rows.values()), some.unknown, some.is_certain) == (1, 1, False)
    assert row.workflow_id == "wf-1"


#: Every right of a role that can be revoked.
RIGHTS = """
    SELECT privilege_type || ' ON ' || table_schema || '.' || table_name AS right
    FROM information_schema.table_privileges WHERE grantee = $1
    UNION ALL
    SELECT privilege_type || ' (' || column_name || ') ON ' || table_name
    FROM information_schema.column_privileges
    WHERE grantee = $1 AND privilege_type = 'UPDATE' AND table_name = 'workflow_executions'
    UNION ALL
    SELECT 'USAGE ON SCHEMA reconciler'
"""


async def test_none_of_the_documented_rights_can_be_left_out(
    database: Database, role: Role
) -> None:
    await database.execute(role.adapt(documented("What the database role may do")))
    rights = [row["right"] for row in await database.fetch(RIGHTS, role.name)]

    assert len(rights) == 28
    async with using_engine(role.url) as engine:

        async def check() -> None:
            await map_table(engine, TableMapping(), writing=True)
            await check_schema(engine, looping=True)

        await check()
        for right in rights:
            await database.execute(f"REVOKE {right} FROM {role.name}")
            with pytest.raises(DatabaseUnfit, match="GRANT "):
                await check()
            await database.execute(f"GRANT {right} TO {role.name}")


class TestWithoutOurSchema:
    """RECONCILER_JOURNAL=off: two grants, and nothing of reconciler's in the database."""

    @pytest.fixture(autouse=True)
    async def bare(self, database: Database, role: Role) -> AsyncIterator[None]:
        await database.execute("DROP SCHEMA reconciler CASCADE")
        await database.execute(role.adapt(documented("Without our schema")))
        yield
        (schemas,) = await database.fetch(
            "SELECT array_agg(nspname::text) AS names FROM pg_namespace"
            " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        )
        assert schemas["names"] == ["public"]
        tables = await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert [table["tablename"] for table in tables] == ["workflow_executions"]

    @pytest.fixture
    def off(self, settings: Callable[..., Settings]) -> Settings:
        return settings(journal="off")

    async def test_a_pass_writes_as_usual(self, stage: Stage, off: Settings) -> None:
        await one_more(stage)
        dry = await once(off, dry_run=True)
        assert (dry.error, dry.tally.written) == (None, {"failed": 1})
        assert await stage.statuses() == {"running": 1}

        report = await once(off)

        assert (report.error, report.tally.written) == (None, {"failed": 1})
        (row,) = await stage.database.fetch("SELECT * FROM workflow_executions")
        assert row["completed_at"] is not None
        assert str(row["error_message"]).startswith("terminated by ")

    async def test_a_backfill_logs_each_row_since_there_is_no_journal(
        self, stage: Stage, off: Settings
    ) -> None:
        await one_more(stage)
        with capture_logs() as lines:
            report = await backfill(off)

        assert (report.error, report.tally.written) == (None, {"failed": 1})
        (finished,) = [line for line in lines if line["event"] == "row_finished"]
        assert finished["log_level"] == "info"

    async def test_an_interrupted_backfill_starts_over(self, stage: Stage, off: Settings) -> None:
        handle = await stage.start("open")
        await stage.insert(handle, 3)
        request = Request(apply=True, limit=2)

        first = await run_backfill(off, request, Operator())
        second = await run_backfill(off, request, Operator())

        assert first is not None
        assert second is not None
        assert [(r.tally.scanned, r.more_left, r.resumed) for r in (first, second)] == [
            (2, True, False)
        ] * 2

    async def test_a_plan_is_applied(
        self, stage: Stage, off: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await one_more(stage)
        plan = tmp_path / "plan.jsonl"
        await run_backfill(off, Request(output=plan), Operator())

        with capture_logs() as lines:
            report = await run_plan(off, Request(apply=True), plan, Operator(), force=False)

        assert report is not None
        assert (report.error, report.tally.written) == (None, {"failed": 1})
        assert [line["log_level"] for line in lines if line["event"] == "row_finished"] == ["info"]

    async def test_a_row_is_explained(self, stage: Stage, off: Settings) -> None:
        handle = await stage.closed()
        await stage.insert(handle)
        async with open_app(off, writing=False) as app:
            (explanation,) = await explain(app, handle.id)

        assert explanation.stored.running

    async def test_the_loop_is_ready_after_its_own_pass_and_warns_once(
        self, stage: Stage, off: Settings
    ) -> None:
        await one_more(stage)
        with capture_logs() as lines:
            state = await loop_over(off)

        assert state.lease_held
        assert state.last_good_pass is not None
        assert await stage.statuses() == {"failed": 1}
        (warning,) = [line for line in lines if line["log_level"] == "warning"]
        assert warning["event"] == "journal_off"

    async def test_rights_on_columns_are_enough(
        self, database: Database, role: Role, stage: Stage, off: Settings
    ) -> None:
        columns = "id, workflow_id, run_id, status, created_at, completed_at, error_message"
        await database.execute(f"REVOKE SELECT ON workflow_executions FROM {role.name}")
        await database.execute(f"GRANT SELECT ({columns}) ON workflow_executions TO {role.name}")
        await one_more(stage)

        assert (await once(off)).tally.written == {"failed": 1}
        assert (await backfill(off)).error is None


@pytest.mark.parametrize(
    "command", [["undo", str(UUID(int=0))], ["passes"], ["changes"]], ids=lambda c: c[0]
)
def test_what_needs_the_journal_is_refused_without_it(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    monkeypatch.setenv("RECONCILER_JOURNAL", "off")

    assert run(command) == 2
    problem = "RECONCILER_JOURNAL is off, so changes are only in the log and cannot be undone"
    assert capsys.readouterr().err == f"reconciler: {problem}\n"
