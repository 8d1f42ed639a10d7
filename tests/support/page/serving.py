"""A page on a port, and a proxy before it, as operators set one up."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from reconciler.web.page.access import Access
from reconciler.web.server import serving
from tests.support.page.source import FakeSource, page_of
from tests.support.servers.ports import free_port

UI = "http://127.0.0.1:9/temporal"


@dataclass
class Site:
    """What is served, and where."""

    sources: Mapping[str, FakeSource]
    port: int

    @property
    def source(self) -> FakeSource:
        """The only one, where there are no targets."""
        return self.sources[""]

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/"


@contextlib.asynccontextmanager
async def served(
    sources: FakeSource | Mapping[str, FakeSource], port: int | None = None
) -> AsyncIterator[Site]:
    """The page with this source, or with these of targets, on a loopback address."""
    port = port or free_port()
    each = {"": sources} if isinstance(sources, FakeSource) else sources
    page = page_of(each, Access(on_loopback=True), UI)
    async with serving(page, "127.0.0.1", port):
        yield Site(each, port)


@contextlib.asynccontextmanager
async def behind_proxy(site: Site, prefix: str) -> AsyncIterator[str]:
    """The URL of the page below a prefix of a proxy."""
    port = free_port()
    async with (
        httpx.AsyncClient(verify=False) as client,  # noqa: S501 - plain HTTP
        serving(Proxy(site, prefix, client), "127.0.0.1", port),
    ):
        yield f"http://localhost:{port}{prefix}"


@dataclass
class Proxy:
    """Removes the prefix, and decodes and normalizes the path, as nginx does."""

    site: Site
    prefix: str
    client: httpx.AsyncClient

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        raw = unquote(scope["raw_path"].decode())
        path = posixpath.normpath(raw) + ("/" if raw.endswith("/") and len(raw) > 1 else "")
        if not path.startswith(self.prefix):
            await Response("not below the prefix", 404)(scope, receive, send)
            return
        query = f"?{request.url.query}" if request.url.query else ""
        url = f"{self.site.url}{quote(path.removeprefix(self.prefix))}{query}"
        headers: dict[str, Any] = {"Accept": request.headers.get("Accept", "*/*")}
        answer = await self.client.get(url, headers=headers)
        kept = {k: v for k, v in answer.headers.items() if k not in _HOP_BY_HOP}
        await Response(answer.content, answer.status_code, kept)(scope, receive, send)


_HOP_BY_HOP = {"content-encoding", "content-length", "transfer-encoding", "connection", "date"}
