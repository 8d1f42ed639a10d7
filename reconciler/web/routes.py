"""The routes `/livez`, `/readyz` and `/metrics`, beside the page; nothing here changes anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from reconciler.core.text import visible_json

#: Seconds that an answer is cached: a storm of probes costs one reading.
READINESS_AGE = 5.0
METRICS_AGE = 1.0

_NO_STORE = {"Cache-Control": "no-store"}
_T = TypeVar("_T")


class HealthSource(Protocol):
    """What the loop reports about itself."""

    def why_stalled(self) -> str | None:
        """Why the loop counts as dead; None if it is alive."""
        ...

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether this replica is ready, and the fields of the answer."""
        ...

    async def scrape(self) -> bytes:
        """All metrics in the Prometheus text format."""
        ...


def create_web(source: HealthSource, page: ASGIApp | None = None) -> Starlette:
    """The application for uvicorn; `page` answers all other paths."""
    scrape = Cached(source.scrape, METRICS_AGE)

    async def make_readiness() -> tuple[bool, dict[str, Any]]:
        answer = await source.readiness()
        scrape.expire()  # metrics must include the pass that made it ready
        return answer

    readiness = Cached(make_readiness, READINESS_AGE)

    async def livez(_: Request) -> Response:
        why = source.why_stalled()
        return PlainTextResponse(f"{why or 'ok'}\n", 503 if why else 200, _NO_STORE)

    async def readyz(_: Request) -> Response:
        ready, details = await readiness.get()
        content = visible_json({"ready": ready, **details})  # safe to print on a terminal
        return Response(content, 200 if ready else 503, _NO_STORE, "application/json")

    async def metrics(_: Request) -> Response:
        return Response(await scrape.get(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            *([] if page is None else [Mount("", page)]),
        ]
    )


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
