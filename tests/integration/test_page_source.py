"""What the page shows, from real servers: the data, without the rendering."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry

from reconciler.app.app import App
from reconciler.app.lease import LeaseKeeper
from reconciler.app.overview import kept, rows
from reconciler.app.overview import passes as pass_pages
from reconciler.app.overview.model import PassPage, State
from reconciler.app.wiring import open_app
from reconciler.core.model import Missing, Mode, Open
from reconciler.daemon.feed_loop import FeedLoop
from reconciler.daemon.health import Health
from reconciler.daemon.page_source import LoopPage
from reconciler.daemon.schedule import Every
from reconciler.postgres.journal import reader, recent
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from reconciler.web.metrics.passes import PassMetrics
from tests.conftest import Database
from tests.support.network.proxy import proxy
from tests.support.stuck import Entries, row_at_risk, stuck_row
from tests.support.tables.past import change, pass_over
from tests.support.temporal.world import World

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def always_current(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each view asks again, and waits for the answers."""
    monkeypatch.setattr(kept, "CURRENT", 0.0)
    monkeypatch.setattr(kept, "PER_SECOND", 0.0)
    monkeypatch.setattr(kept, "HURRY", 3.0)
    monkeypatch.setattr(rows, "CURRENT", 0.0)


@pytest.fixture
def settings(
    database: Database, temporal_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Settings]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    return lambda **given: load_settings(Settings, **{"database_url": database.url, **given})


@asynccontextmanager
async def page_of(settings: Settings) -> AsyncIterator[tuple[LoopPage, App, LeaseKeeper]]:
    """The page of a process that has claimed the lease once."""
    health = Health(Every(MINUTE), CollectorRegistry())
    async with open_app(settings, writing=True, looping=True) as app:
        keeper = LeaseKeeper(app.lease(), on_lost=lambda: None)
        feed = FeedLoop(lambda: pytest.fail("no feed"), timedelta(), {}, print, print, print)
        health.connected(app, keeper, PassMetrics(health.registry, Mode.RUN), feed)
        await keeper.renew_once()
        yield LoopPage(health, settings, {"target_host": "me:secret@temporal:7233"}), app, keeper


async def repair(app: App) -> str:
    return (await app.run_pass("run", dry_run=False)).pass_id


async def closed_row(database: Database, world: World) -> None:
    row = await world.ended(await world.start("fail", "no money"))
    await database.insert(world.workflow_id, row.run_id)


async def entries(database: Database, app: App) -> Entries:
    """The entries that the passes of this app would record."""
    return Entries(database, app.table, app.scope_namespace)


async def test_the_five_questions(
    database: Database, world: World, settings: Callable[..., Settings]
) -> None:
    await closed_row(database, world)
    stuck, lost = await database.insert("stuck"), await database.insert("never-started")
    async with page_of(settings()) as (page, app, _):
        before = await page.overview()
        pass_id = await repair(app)
        recorded = await entries(database, app)
        await recorded.record([stuck_row(stuck, workflow_id="stuck")], [row_at_risk(lost)], [])
        after = await page.overview()

    assert before.working.state is State.STARTING
    assert (after.table, after.namespace) == ("workflow_executions", "default")
    working = after.working
    assert (working.state, working.role, working.errors) == (State.WORKING, "holder", ())
    assert working.last_good_pass == pass_id
    assert working.holder == this_host()
    assert working.last_good_at is not None
    assert working.next_pass_at is not None
    assert [each.reachable for each in working.servers] == [True, True]

    assert after.repaired is not None
    assert (after.repaired.total, after.repaired.statuses) == (1, ("completed", "failed"))
    assert dict(after.repaired.hours[-1].rows) == {"failed": 1}
    (change,) = after.repaired.newest
    assert (change.workflow_id, str(change.pass_id)) == (world.workflow_id, pass_id)
    assert after.losing is not None
    assert [(each.workflow_type, each.missed) for each in after.losing.types] == [("Scripted", 1)]
    assert after.losing.others == 0
    assert after.stuck is not None
    assert (after.stuck.rows, after.stuck.groups_left_out) == (1, 0)
    assert [each.text for each in after.stuck.groups] == ["charge: card N declined"]
    assert after.stuck.checked_at == working.last_good_at
    assert after.at_risk is not None
    assert [each.workflow_id for each in after.at_risk.rows] == [f"wf-{lost}"]
    assert after.at_risk.counts == {"never_started": 1}
    assert after.at_risk.retention == timedelta(days=1)
    assert (after.unavailable, after.as_of, after.why_no_parts) == ((), None, None)


async def test_a_busy_other_table_hides_neither_our_changes_nor_our_passes(
    database: Database,
    world: World,
    settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await closed_row(database, world)
    async with page_of(settings()) as (page, app, _):
        pass_id = await repair(app)
        monkeypatch.setattr(reader, "AMONG", 1)
        monkeypatch.setattr(recent, "AMONG", 1)
        await change(database, await pass_over(database, -MINUTE, of=("exports", "default")))
        shown = await page.overview()

    assert shown.repaired is not None
    assert [str(each.pass_id) for each in shown.repaired.newest] == [pass_id]
    assert shown.working.next_pass_at is not None


def this_host() -> Any:
    class Here:
        def __eq__(self, other: object) -> bool:
            return isinstance(other, str) and other.startswith(f"{socket.gethostname()}/")

        __hash__ = None  # type: ignore[assignment]

    return Here()


async def test_what_was_known_is_shown_while_a_part_cannot_be_read(
    database: Database, world: World, settings: Callable[..., Settings]
) -> None:
    await closed_row(database, world)
    async with page_of(settings()) as (page, app, _):
        await repair(app)
        known = await page.overview()
        await database.execute("ALTER TABLE reconciler.changes RENAME TO gone")
        partly = await page.overview()
        await database.execute("ALTER TABLE reconciler.gone RENAME TO changes")
        again = await page.overview()

    assert (partly.repaired, partly.losing) == (known.repaired, known.losing)
    assert [each.what for each in partly.unavailable] == [
        "what was repaired",
        "which types lose their last write",
    ]
    assert "reconciler.changes" in partly.unavailable[0].text
    assert partly.as_of is not None
    assert known.now <= partly.as_of + timedelta(seconds=5) <= partly.now + timedelta(seconds=5)
    assert partly.working.state is State.WORKING
    assert (again.unavailable, again.as_of) == ((), None)


async def test_without_a_journal_the_page_says_why_there_is_nothing(
    database: Database, world: World, settings: Callable[..., Settings]
) -> None:
    await closed_row(database, world)
    async with page_of(settings(journal=False)) as (page, app, _):
        pass_id = await repair(app)
        overview, passes = await page.overview(), await page.passes(None, with_feed=True)
        one, row = await page.one_pass(UUID(pass_id)), await page.row(world.workflow_id)

    assert overview.working.state is State.WORKING
    assert "RECONCILER_JOURNAL is off" in overview.working.headline
    assert (overview.repaired, overview.losing, overview.stuck, overview.at_risk) == (None,) * 4
    assert (overview.why_no_parts or "").startswith("RECONCILER_JOURNAL is off")
    assert (passes.error, one) == (pass_pages.NO_JOURNAL, pass_pages.NO_JOURNAL)
    (explained,) = row.explanations
    assert (explained.stored.status, row.changes, row.error) == ("failed", (), None)


async def test_a_table_of_another_shape(
    database: Database, world: World, settings: Callable[..., Settings]
) -> None:
    await database.execute(
        'CREATE SCHEMA "odd one"; CREATE TABLE "odd one"."Jobs" ('
        "key uuid PRIMARY KEY DEFAULT gen_random_uuid(), wf text NOT NULL, first_run text,"
        " state text DEFAULT 'on', started timestamptz DEFAULT now(),"
        " ended timestamptz, why text)"
    )
    row = await world.ended(await world.start("fail", "no money"))
    insert = 'INSERT INTO "odd one"."Jobs" (wf, first_run) VALUES ($1, $2) RETURNING key'
    await database.execute(insert, world.workflow_id, row.run_id)
    ((stuck,),) = await database.pool.fetch(insert, "stuck", None)
    columns = {"id": "key", "workflow_id": "wf", "run_id": "first_run", "status": "state"}
    more = {"created_at": "started", "completed_at": "ended", "error_message": "why"}
    odd = settings(
        table='"odd one"."Jobs"',
        columns={**columns, **more},
        statuses={"running": "on", "failed": "off"},
    )
    async with page_of(odd) as (page, app, _):
        await repair(app)
        recorded = await entries(database, app)
        await recorded.record([stuck_row(stuck, workflow_id="stuck")], [], [])
        overview, shown = await page.overview(), await page.row(world.workflow_id)

    assert overview.repaired is not None
    assert overview.repaired.statuses == ("completed", "off")
    assert overview.working.last_good_at is not None
    assert overview.stuck is not None
    assert overview.stuck.rows == 1
    assert [each.stored.status for each in shown.explanations] == ["off"]
    assert [each.new.status for each in shown.changes] == ["off"]


async def test_a_workflow_id_with_and_without_rows(
    database: Database, world: World, settings: Callable[..., Settings]
) -> None:
    handle = await world.start("wait")
    async with page_of(settings()) as (page, _, _):
        without = await page.row(world.workflow_id)
        await database.insert(world.workflow_id, handle.first_execution_run_id)
        with_row = await page.row(world.workflow_id)
        hostile = [await page.row(id_) for id_ in ("<script>", "../..", "%", "x" * 5000, "ü\u202e")]
        broken = await page.row("nul\0")
    await handle.terminate()

    assert isinstance(without.current, Open)
    assert (without.explanations, without.changes, without.error) == ((), (), None)
    (explained,) = with_row.explanations
    assert isinstance(explained.observation, Open)
    assert with_row.current is None
    assert all(isinstance(each.current, Missing) or each.error for each in hostile)
    assert broken.error is not None


async def test_of_the_many_rows_of_a_schedule_the_newest_are_asked_about(
    database: Database, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "ROWS", 2)
    ids = [await database.insert("nightly", str(uuid4())) for _ in range(9)]
    async with page_of(settings()) as (page, app, _):
        calls = app.rpc.ended_calls.total()
        view = await page.row("nightly")
        asked = app.rpc.ended_calls.total() - calls

    assert [each.stored.row.id for each in view.explanations] == ids[-2:]
    assert view.only_newest
    assert asked <= 4, "of each row its run, and the workflow's last one"


async def test_one_view_of_a_row_is_shared(
    database: Database, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "CURRENT", 60.0)
    async with page_of(settings()) as (page, app, _):
        calls = app.rpc.ended_calls.total()
        views = await asyncio.gather(*(page.row("one") for _ in range(20)))

        assert all(view is views[0] for view in views)
        assert app.rpc.ended_calls.total() - calls == 1


async def test_a_row_is_not_waited_for(
    database: Database, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.app.overview.patience.PATIENCE", 0.2)
    async with (
        page_of(settings()) as (page, _, _),
        database.pool.acquire() as other,
        other.transaction(),
    ):
        await other.execute("LOCK TABLE workflow_executions")
        view = await page.row("one")

    assert view.error == "no answer within 0.2 s"


async def test_a_silent_temporal_keeps_no_view_from_its_answers(
    database: Database,
    world: World,
    temporal_address: str,
    settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await closed_row(database, world)
    host, _, port = temporal_address.partition(":")
    async with proxy(host, int(port)) as network:
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"{host}:{network.port}")
        async with page_of(settings()) as (page, app, _):
            await repair(app)
            network.blackhole()
            monkeypatch.setattr("reconciler.daemon.health.CHECK_TIMEOUT", 0.2)
            overview, row = await page.overview(), await page.row(world.workflow_id)

    assert overview.working.state is State.FAILING
    assert [(each.what, each.text) for each in overview.unavailable] == [
        ("Temporal", "no answer within 0.2 s")
    ]
    assert overview.repaired is not None
    assert overview.repaired.total == 1
    assert row.error == "no answer within 3 s"
    assert [each.workflow_id for each in row.changes] == [world.workflow_id]


async def test_passes_page_by_page_without_those_of_the_feed(
    database: Database, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pass_pages, "PASSES", 2)
    ids = [await pass_over(database, MINUTE * age) for age in range(1, 6)]
    await pass_over(database, mode="feed")
    async with page_of(settings()) as (page, _, _):
        seen, cursor = [], None
        while True:
            view = await page.passes(cursor, with_feed=False)
            seen += [str(each.id) for each in view.passes]
            if (cursor := view.older) is None:
                break
        newest = await page.passes(None, with_feed=True)
        far = "0001-01-01T00:00:00+23:59_00000000-0000-0000-0000-000000000000"
        odd = [
            await page.passes(text, with_feed=True)
            for text in ("", "x", "2026-01-01_x", "_", "\0", far)
        ]
        missing = await page.one_pass(uuid4())

    assert seen == ids
    assert newest.passes[0].mode == "feed"
    assert [view.passes for view in odd[:-1]] == [newest.passes] * 5
    assert not odd[-1].passes
    assert missing is None


async def test_a_pass_with_the_command_that_undoes_it(
    database: Database, world: World, settings: Callable[..., Settings]
) -> None:
    await closed_row(database, world)
    async with page_of(settings()) as (page, app, _):
        pass_id, idle = await repair(app), await repair(app)
        shown, nothing = await page.one_pass(UUID(pass_id)), await page.one_pass(UUID(idle))

    assert isinstance(shown, PassPage)
    assert isinstance(nothing, PassPage)
    assert shown.undo_command == f"reconciler undo {pass_id}"
    assert [each.workflow_id for each in shown.changes] == [world.workflow_id]
    assert not shown.more
    assert (nothing.changes, nothing.undo_command) == ((), "")


async def test_a_standby_shows_the_same_and_who_holds_the_lease(
    database: Database, world: World, settings: Callable[..., Settings]
) -> None:
    await closed_row(database, world)
    async with page_of(settings()) as (_, app, keeper):
        await repair(app)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("reconciler.app.app.this_process", lambda: "there/2/cd")
            async with page_of(settings()) as (page, _, other):
                standby = await page.overview()
        await pass_over(database, -MINUTE, error="Temporal is unreachable")
        assert keeper.holds
        assert other.is_standby

    assert (standby.working.state, standby.working.role) == (State.STANDBY, "standby")
    assert standby.working.holder == this_host()
    assert standby.repaired is not None
    assert standby.repaired.total == 1


async def test_a_lease_that_changed_hands_is_not_shown_in_the_old_ones(
    database: Database, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with page_of(settings()) as (_, app, keeper):
        await repair(app)
        monkeypatch.setattr("reconciler.app.app.this_process", lambda: "there/2/cd")
        async with page_of(settings()) as (page, _, other):
            monkeypatch.setattr(kept, "CURRENT", 60.0)
            monkeypatch.setattr(kept, "HURRY", 0.01)
            before = (await page.overview()).working
            await keeper.release()
            await other.renew_once()
            after = (await page.overview()).working

    assert (before.role, before.holder) == ("standby", this_host())
    assert (after.role, after.holder) == ("holder", "there/2/cd")


async def test_no_field_holds_a_secret(
    database: Database, settings: Callable[..., Settings]
) -> None:
    async with page_of(settings(database_url=with_password(database.url))) as (page, _, _):
        views: list[object] = [
            await page.overview(),
            await page.row("x"),
            await page.passes(None, with_feed=True),
        ]
        await database.execute("ALTER TABLE reconciler.passes RENAME TO gone")
        await database.execute("ALTER TABLE workflow_executions RENAME TO gone")
        views += [
            await page.overview(),
            await page.row("y"),
            await page.passes(None, with_feed=True),
        ]

    assert "secret" not in repr(views)


def with_password(url: str) -> str:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0] or "postgres"
    return urlunsplit(parts._replace(netloc=f"{name}:secret@{host}"))


async def test_a_loop_that_starts_again_after_a_bug_has_a_page_throughout(
    settings: Callable[..., Settings],
) -> None:
    """Its connections are others then: those of the loop that crashed are closed."""
    async with page_of(settings()) as (page, _, keeper):
        await keeper.release()
        health = page._health
        health.crashed(ZeroDivisionError(), MINUTE)
        crashed = await page.overview()
        async with open_app(settings(), writing=True, looping=True) as app:
            feed = FeedLoop(lambda: pytest.fail("no feed"), timedelta(), {}, print, print, print)
            again = LeaseKeeper(app.lease(), on_lost=lambda: None)
            health.connected(app, again, health.pass_metrics(), feed)
            await again.renew_once()
            pass_id = await repair(app)
            after = await page.overview()

    assert crashed.working.state is State.NOT_RUNNING
    assert crashed.unavailable == ()
    assert crashed.why_no_parts is not None
    assert (after.working.state, after.working.last_good_pass) == (State.WORKING, pass_id)
