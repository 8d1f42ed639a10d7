"""The routes, and that a storm of probes costs one reading."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from reconciler.web.routes import METRICS_AGE, READINESS_AGE, Cached, create_web
from tests.support.hostile import HOSTILE, unseen


@dataclass
class FakeSource:
    dead: str | None = None
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


def client(source: FakeSource) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_web(source))
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
