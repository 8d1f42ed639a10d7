"""The routes `/livez`, `/readyz` and `/metrics`, beside the page; nothing here changes anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from reconciler.core.text import visible, visible_json

#: Seconds that an answer is cached: a storm of probes costs one reading.
READINESS_AGE = 5.0
METRICS_AGE = 1.0

_NO_STORE = {"Cache-Control": "no-store"}
_T = TypeVar("_T")
#: Whether it is ready, and the fields of the answer.
_Readiness: TypeAlias = tuple[bool, dict[str, Any]]


class HealthSource(Protocol):
    """What the loop of a target reports about itself."""

    @property
    def crash(self) -> str | None:
        """The bug that ended the loop, until it has been started again."""
        ...

    def why_stalled(self) -> str | None:
        """Why the loop counts as dead; None if it is alive."""
        ...

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether this replica is ready, and the fields of the answer."""
        ...


def create_web(
    sources: Mapping[str, HealthSource],
    scrape: Callable[[], Awaitable[bytes]],
    page: ASGIApp | None = None,
) -> Starlette:
    """The application for uvicorn; `page` answers all other paths.

    `sources`: of each target by its name, which is empty if there are none. `scrape` returns all
    metrics in the Prometheus text format.
    """
    scraped = Cached(scrape, METRICS_AGE)
    probes = Probes(sources, scraped.expire)

    async def metrics(_: Request) -> Response:
        return Response(await scraped.get(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/livez", probes.livez),
            Route("/readyz", probes.readyz),
            Route("/metrics", metrics),
            *([] if page is None else [Mount("", page)]),
        ]
    )


class Probes:
    """Answers about all targets, or one of them. Each is asked by itself."""

    def __init__(self, sources: Mapping[str, HealthSource], on_answer: Callable[[], None]) -> None:
        """`on_answer` is called once a target has answered whether it is ready."""
        self._sources, self._on_answer = sources, on_answer
        self._readiness = {
            name: Cached(partial(self._ask, source), READINESS_AGE)
            for name, source in sources.items()
        }

    async def _ask(self, source: HealthSource) -> _Readiness:
        answer = await source.readiness()
        self._on_answer()  # metrics must include the pass that made it ready
        return answer

    async def livez(self, _: Request) -> Response:
        """Whether every loop is alive; one that a bug has ended is named, and starts again.

        It is no reason to end the process, and the loops of other targets with it.
        """
        sources = self._sources.items()
        dead = [_line(name, why) for name, each in sources if (why := each.why_stalled())]
        crashed = [_line(name, each.crash) for name, each in sources if each.crash]
        text = "".join(dead or ["ok\n", *crashed])
        return PlainTextResponse(text, 503 if dead else 200, _NO_STORE)

    async def readyz(self, request: Request) -> Response:
        """Whether all targets are ready, or the one that the query names."""
        name = request.query_params.get("target", "" if "" in self._readiness else None)
        if name is None:
            return _answer(await self._all())
        if (one := self._readiness.get(name)) is None:
            names = ", ".join(filter(None, self._readiness))
            has = f"there are {names}" if names else "there are no targets"
            return PlainTextResponse(f"no such target: {has}\n", 404, _NO_STORE)
        return _answer(await one.get())

    async def _all(self) -> _Readiness:
        answers = await asyncio.gather(*(each.get() for each in self._readiness.values()))
        each = {
            name: {"ready": ready, **details}
            for name, (ready, details) in zip(self._readiness, answers, strict=True)
        }
        return all(ready for ready, _ in answers), {"targets": each}


def _answer(readiness: _Readiness) -> Response:
    ready, details = readiness
    content = visible_json({"ready": ready, **details})  # safe to print on a terminal
    return Response(content, 200 if ready else 503, _NO_STORE, "application/json")


def _line(name: str, text: str) -> str:
    return f"{name}: {visible(text)}\n" if name else f"{text}\n"


class Cached(Generic[_T]):
    """An answer that is made again on request once the last one is too old."""

    def __init__(
        self,
        make: Callable[[], Awaitable[_T]],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make, self._seconds, self._clock = make, seconds, clock
        self._last: tuple[float, _T] | None = None
        self._expired_before = float("-inf")
        self._making = asyncio.Lock()

    async def get(self) -> _T:
        """The answer; concurrent calls share one."""
        async with self._making:
            if self._last is None or self._is_old(self._last[0]):
                began = self._clock()
                self._last = began, await self._make()
            return self._last[1]

    def expire(self) -> None:
        """Do not return an answer that was begun before now."""
        self._expired_before = self._clock()

    def _is_old(self, began: float) -> bool:
        return began < self._expired_before or self._clock() - began >= self._seconds
