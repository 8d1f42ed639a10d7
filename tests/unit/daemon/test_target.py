"""What becomes of one target when something is wrong with it, and of the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from reconciler.app.app import App
from reconciler.core.errors import ConfigurationError, DatabaseUnfit, DatabaseUnusable, Unusable
from reconciler.daemon import schedule as schedule_module
from reconciler.daemon import target as module
from reconciler.daemon.health import Health
from reconciler.daemon.schedule import Every
from reconciler.daemon.target import Serving, Target, Unfit, load_target
from reconciler.postgres.connection.engine import close
from reconciler.settings.model import Settings
from tests.support.polling import deadline, eventually

Script = Callable[[str, int], Awaitable[None]]
HOURLY = Every(timedelta(hours=1))


def settings(name: str = "", **more: Any) -> Settings:
    given = Settings.model_validate({"database_url": "postgresql://u@h/d", **more})
    given.target = name
    return given


@dataclass
class Bench:
    """Targets that are opened, and run, by scripts: these get the target and the attempt."""

    opening: Script = field(default_factory=lambda: well)
    running: Script = field(default_factory=lambda: well)
    opened: Counter[str] = field(default_factory=Counter)
    ran: Counter[str] = field(default_factory=Counter)
    healths: dict[str, Health] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def serve(self, *names: str) -> None:
        unfit = Unfit(names)
        for name in names:
            target = Target(settings(name), HOURLY, {})
            health = self.healths[name] = Health(HOURLY, CollectorRegistry())
            serving = Serving(target, health, partial(self.open, name), unfit)
            self.tasks[name] = asyncio.create_task(serving.run())

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[App]:
        self.opened[name] += 1
        await self.opening(name, self.opened[name])
        yield cast("App", name)

    async def run(self, name: str) -> None:
        self.ran[name] += 1
        await self.running(name, self.ran[name])
        await asyncio.Event().wait()

    async def comes(self, of: Counter[str], **counts: int) -> None:
        async def came() -> bool:
            return all(of[name] >= count for name, count in counts.items())

        await eventually(came)

    async def ends(self, name: str) -> None:
        async with deadline():
            await asyncio.wait({self.tasks[name]})
        self.tasks[name].result()

    @property
    def is_serving(self) -> bool:
        return not any(task.done() for task in self.tasks.values())


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """Without pauses between attempts."""
    for limit in ("FIRST_RETRY", "LAST_RETRY"):
        monkeypatch.setattr(schedule_module, limit, 0.01)
    bench = Bench()
    monkeypatch.setattr(
        module, "Loop", lambda app, *_: SimpleNamespace(run=partial(bench.run, app))
    )
    yield bench
    for task in bench.tasks.values():
        task.cancel()
    await asyncio.wait(bench.tasks.values())


async def well(_: str, __: int) -> None: ...


def fails(error: BaseException, of: str = "", times: int = 1_000_000) -> Script:
    """A script that fails for this target, or for all of them."""

    async def fail(name: str, attempt: int) -> None:
        if of in ("", name) and attempt <= times:
            raise error

    return fail


@pytest.mark.parametrize("names", [("",), ("orders", "exports")])
async def test_lines_carry_the_name_of_a_target_if_there_is_one(
    bench: Bench, names: Sequence[str]
) -> None:
    found = {}

    async def note(name: str, _: int) -> None:
        found[name] = structlog.contextvars.get_contextvars()

    bench.running = note
    bench.serve(*names)
    await bench.comes(bench.ran, **dict.fromkeys(names, 1))

    assert found == {name: {"target": name} if name else {} for name in names}


REJECTIONS = [ConfigurationError("no such codec"), DatabaseUnfit("no table", "migrate")]


@pytest.mark.parametrize("error", REJECTIONS)
@pytest.mark.parametrize("name", ["", "orders"])
async def test_the_only_target_ends_the_process_if_it_is_rejected(
    bench: Bench, name: str, error: Exception
) -> None:
    bench.opening = fails(error)
    with capture_logs() as lines:
        bench.serve(name)
        with pytest.raises(type(error)) as found:
            await bench.ends(name)

    assert found.value is error
    assert lines == [], "the error is the last line of the process"


@pytest.mark.parametrize("error", REJECTIONS)
async def test_a_target_that_is_rejected_is_tried_again_beside_the_others(
    bench: Bench, error: Exception
) -> None:
    bench.opening = fails(error, "orders", times=2)
    with capture_logs() as lines:
        bench.serve("orders", "exports")
        await bench.comes(bench.ran, orders=1, exports=1)

    rejected = [line for line in lines if line["event"] == "target_rejected"]
    assert [line["error"] for line in rejected] == [str(error)] * 2
    assert bench.is_serving


async def test_readiness_says_why_a_target_is_rejected(bench: Bench) -> None:
    bench.opening = fails(DatabaseUnfit("no table", "migrate"), "orders")
    bench.serve("orders", "exports")
    await bench.comes(bench.opened, orders=2)

    readiness = await bench.healths["orders"].readiness()
    assert readiness == (False, {"role": "starting", "why": "no table: migrate"})


async def test_the_process_ends_with_the_first_error_once_every_target_is_rejected(
    bench: Bench,
) -> None:
    async def orders_is_unreachable_at_first(name: str, attempt: int) -> None:
        if name == "exports":
            raise ConfigurationError("no such codec")
        raise DatabaseUnusable("away") if attempt < 3 else DatabaseUnfit("no table", "migrate")

    bench.opening = orders_is_unreachable_at_first
    bench.serve("orders", "exports")
    with pytest.raises(Unusable, match="no target can be served; orders: no table: migrate"):
        await bench.ends("orders")


async def test_a_target_that_waits_for_a_server_keeps_the_process(bench: Bench) -> None:
    async def one_is_rejected(name: str, _: int) -> None:
        raise DatabaseUnfit("no table") if name == "orders" else DatabaseUnusable("away")

    bench.opening = one_is_rejected
    bench.serve("orders", "exports")
    await bench.comes(bench.opened, orders=3, exports=3)

    assert bench.is_serving
    assert bench.healths["exports"].waiting_for == "away"


@pytest.mark.parametrize("then", ["served", "unreachable"])
async def test_a_target_that_was_rejected_once_keeps_the_process(bench: Bench, then: str) -> None:
    async def one_after_the_other(name: str, attempt: int) -> None:
        if name == "orders" and attempt == 1:
            raise DatabaseUnfit("no table")
        if name == "orders" and then == "unreachable":
            raise DatabaseUnusable("away")
        if name == "exports":
            await bench.comes(bench.opened, orders=3 if then == "unreachable" else 2)
            raise DatabaseUnfit("no table")

    bench.opening = one_after_the_other
    bench.serve("orders", "exports")
    await bench.comes(bench.opened, exports=3)

    assert bench.is_serving


BUGS = [ZeroDivisionError(), asyncio.CancelledError(), DatabaseUnusable("out of place")]


@pytest.mark.parametrize("bug", BUGS)
async def test_a_bug_ends_the_process_of_the_only_target(bench: Bench, bug: BaseException) -> None:
    bench.running = fails(bug)
    bench.serve("orders")
    with pytest.raises(type(bug)):
        await bench.ends("orders")


@pytest.mark.parametrize("bug", BUGS)
async def test_a_target_that_a_bug_ended_is_started_again(bench: Bench, bug: BaseException) -> None:
    bench.running = fails(bug, "orders", times=2)
    with capture_logs() as lines:
        bench.serve("orders", "exports")
        await bench.comes(bench.ran, orders=3, exports=1)

    assert [line["event"] for line in lines] == ["target_crashed"] * 2
    assert bench.is_serving


async def test_a_bug_is_shown_until_the_loop_runs_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule_module, "FIRST_RETRY", 3600.0)
    monkeypatch.setattr(schedule_module, "LAST_RETRY", 3600.0)
    bench.running = fails(ZeroDivisionError("by zero"), "orders")
    bench.serve("orders", "exports")
    health = bench.healths["orders"]

    async def has_crashed() -> bool:
        return health.crash is not None

    await eventually(has_crashed)
    ready, details = await health.readiness()

    assert not ready
    assert details["why"].startswith("internal error: ZeroDivisionError('by zero'); started again")
    aborted = {"mode": "run", "outcome": "aborted"}
    assert health.registry.get_sample_value("reconciler_passes_total", aborted) == 1
    assert bench.healths["exports"].crash is None


async def test_a_signal_while_connections_are_closed_ends_the_wait_for_a_server(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing = asyncio.Event()

    class Engine:
        async def dispose(self) -> None:
            closing.set()
            await asyncio.sleep(0.05)

    async def unreachable(*_: object) -> None:
        try:
            raise DatabaseUnusable("away")
        finally:
            await close(cast("AsyncEngine", Engine()))

    monkeypatch.setattr(schedule_module, "FIRST_RETRY", 3600.0)
    bench.opening = unreachable
    bench.serve("orders", "exports")
    async with deadline():
        await closing.wait()
        bench.tasks["orders"].cancel()
        await asyncio.wait({bench.tasks["orders"]})

    assert bench.tasks["orders"].cancelled()


def test_what_is_wrong_with_temporals_settings_names_the_target(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TEMPORAL_ADDRESS", raising=False)
    Path("reconciler.toml").write_text("[targets.orders]")
    with pytest.raises(ConfigurationError, match=r"^target orders: TEMPORAL_ADDRESS is not set"):
        load_target(settings("orders"), None)
    with pytest.raises(ConfigurationError, match=r"^TEMPORAL_ADDRESS is not set"):
        load_target(settings(), None)
