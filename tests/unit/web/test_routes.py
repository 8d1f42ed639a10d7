"""The routes, and that a storm of probes costs one reading."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from reconciler.web.routes import METRICS_AGE, READINESS_AGE, Cached, create_web
from tests.support.hostile import HOSTILE, unseen
from tests.support.polling import deadline


@dataclass
class FakeSource:
    dead: str | None = None
    crash: str | None = None
    ready: bool = True
    asked: int = 0

    def why_stalled(self) -> str | None:
        return self.dead

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        self.asked += 1
        await asyncio.sleep(0)
        return self.ready, {"role": "holder", "why": None if self.ready else "unreachable"}

    async def scrape(self) -> bytes:
        self.asked += 1
        return b"reconciler_lease_held 1\n"


def client(source: FakeSource, **targets: FakeSource) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_web(targets or {"": source}, source.scrape))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_livez() -> None:
    source = FakeSource()
    alive = await client(source).get("/livez")
    source.dead = "the loop stands still"
    dead = await client(source).get("/livez")

    assert (alive.status_code, alive.text) == (200, "ok\n")
    assert (dead.status_code, dead.text) == (503, "the loop stands still\n")


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_readyz(ready: bool, status: int) -> None:
    answer = await client(FakeSource(ready=ready)).get("/readyz")

    assert answer.status_code == status
    assert answer.json() == {
        "ready": ready,
        "role": "holder",
        "why": None if ready else "unreachable",
    }


async def test_readyz_is_safe_to_print_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    source = FakeSource()

    async def readiness() -> tuple[bool, dict[str, Any]]:
        return False, {"why": HOSTILE}

    monkeypatch.setattr(source, "readiness", readiness)
    answer = await client(source).get("/readyz")

    assert unseen(answer.text) == set()
    assert answer.json() == {"ready": False, "why": HOSTILE}


@dataclass
class Targets:
    """Two of them."""

    orders: FakeSource = field(default_factory=FakeSource)
    exports: FakeSource = field(default_factory=FakeSource)

    def client(self) -> httpx.AsyncClient:
        return client(FakeSource(), orders=self.orders, exports=self.exports)


async def test_readyz_of_all_targets() -> None:
    targets = Targets(exports=FakeSource(ready=False))
    answer = await targets.client().get("/readyz")

    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "targets": {
            "orders": {"ready": True, "role": "holder", "why": None},
            "exports": {"ready": False, "role": "holder", "why": "unreachable"},
        },
    }
    targets.exports.ready = True
    assert (await targets.client().get("/readyz")).status_code == 200


@pytest.mark.parametrize(("name", "status"), [("orders", 200), ("exports", 503)])
async def test_readyz_of_one_target_has_the_shape_without_targets(name: str, status: int) -> None:
    targets = Targets(exports=FakeSource(ready=False))
    answer = await targets.client().get("/readyz", params={"target": name})
    alone = await client(FakeSource(ready=status == 200)).get("/readyz")

    assert (answer.status_code, answer.json()) == (status, alone.json())


@pytest.mark.parametrize("name", ["order", ""])
async def test_readyz_of_a_target_that_does_not_exist(name: str) -> None:
    answer = await Targets().client().get("/readyz", params={"target": name})
    without = await client(FakeSource()).get("/readyz", params={"target": "orders"})

    assert (answer.status_code, answer.text) == (404, "no such target: there are orders, exports\n")
    assert (without.status_code, without.text) == (404, "no such target: there are no targets\n")


async def test_a_target_that_hangs_does_not_delay_the_answer_about_another() -> None:
    class Hanging(FakeSource):
        async def readiness(self) -> tuple[bool, dict[str, Any]]:
            await asyncio.Event().wait()
            raise AssertionError

    async with Targets(exports=Hanging()).client() as probe:
        of_all = asyncio.create_task(probe.get("/readyz"))
        await asyncio.sleep(0)
        async with deadline():
            assert (await probe.get("/readyz?target=orders")).status_code == 200
        of_all.cancel()


async def test_livez_is_dead_if_the_loop_of_one_target_is() -> None:
    answer = await Targets(exports=FakeSource(dead="it stands still")).client().get("/livez")

    assert (answer.status_code, answer.text) == (503, "exports: it stands still\n")


async def test_livez_names_a_target_that_a_bug_has_ended() -> None:
    """It is started again; the process of the others must not be ended for it."""
    answer = await Targets(exports=FakeSource(crash="a bug\x1b[2J")).client().get("/livez")

    assert (answer.status_code, answer.text) == (200, "ok\nexports: a bug\\x1b[2J\n")


async def test_metrics() -> None:
    answer = await client(FakeSource()).get("/metrics")

    assert (answer.status_code, answer.text) == (200, "reconciler_lease_held 1\n")
    assert answer.headers["content-type"].startswith("text/plain; version=")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_written(path: str, method: str) -> None:
    assert (await client(FakeSource()).request(method, path)).status_code == 405


@pytest.mark.parametrize("path", ["/", "/admin", "/livez/", "/../etc/passwd", "/readyz/x"])
async def test_other_paths_are_not_found(path: str) -> None:
    assert (await client(FakeSource()).get(path)).status_code in (307, 404)


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
async def test_a_storm_of_probes_costs_one_reading(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age in ("READINESS_AGE", "METRICS_AGE"):  # the storm may take longer
        monkeypatch.setattr(f"reconciler.web.routes.{age}", 3600)
    source = FakeSource()
    async with client(source) as storm:
        answers = await asyncio.gather(*(storm.get(path) for _ in range(200)))

    assert {answer.status_code for answer in answers} == {200}
    assert source.asked == 1


async def test_an_old_answer_is_made_again() -> None:
    times, made = iter([0.0, 4.9, 5.0, 5.0, 9.9, 10.0, 10.0]), 0

    async def make() -> int:
        nonlocal made
        made += 1
        return made

    cached = Cached(make, 5, clock=lambda: next(times))

    assert [await cached.get() for _ in range(5)] == [1, 1, 2, 2, 3]
    assert METRICS_AGE <= READINESS_AGE


async def test_no_metrics_are_older_than_the_last_readiness() -> None:
    class HealthSource(FakeSource):
        scraping, go_on = asyncio.Event(), asyncio.Event()

        async def scrape(self) -> bytes:
            known = f"rows {self.ready:d}\n".encode()
            self.scraping.set()
            await self.go_on.wait()
            return known

    source = HealthSource(ready=False)
    async with client(source) as probe:
        before = asyncio.create_task(probe.get("/metrics"))
        await source.scraping.wait()
        source.ready = True
        assert (await probe.get("/readyz")).status_code == 200
        source.go_on.set()

        assert (await probe.get("/metrics")).text == "rows 1\n"
        assert (await before).text == "rows 0\n"


async def test_a_failure_is_not_cached() -> None:
    failing = True

    async def make() -> str:
        if failing:
            raise ValueError
        return "ok"

    cached = Cached(make, 5)
    with pytest.raises(ValueError):  # noqa: PT011
        await cached.get()
    failing = False

    assert await cached.get() == "ok"
