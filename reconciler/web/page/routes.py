"""The routes of the page. GET and HEAD only; no answer depends on a server being reachable."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from reconciler.web.page.access import Access
from reconciler.web.page.links import Links, depth_of
from reconciler.web.page.render import STATES, STATIC, prepare, render, static_file
from reconciler.web.page.source import PageSource

#: Of each answer. Nothing inline runs, and nothing is loaded from elsewhere.
_SAFE = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_PAGE = {**_SAFE, "Cache-Control": "no-store"}
#: Their URL changes with their content.
_STATIC = {**_SAFE, "Cache-Control": "private, max-age=31536000, immutable"}
#: Rows of each list on the overview: it is one screen, and small.
_MOST = {"changes": 5, "types": 5, "groups": 8, "risks": 5}


class Page:
    """The page as an ASGI application; who may not see it is refused before anything else."""

    def __init__(self, source: PageSource, access: Access, temporal_ui: str | None = None) -> None:
        self._source, self._access, self._temporal_ui = source, access, temporal_ui
        # No redirects: theirs would be absolute, and wrong behind a prefix.
        self._router = Router(
            routes=[
                Route("/", self._overview),
                Route("/rows/", self._row),
                Route("/rows/{workflow_id:path}", self._row),
                Route("/passes", self._passes),
                Route("/passes/{pass_id}", self._pass),
                Route("/static/{name}", self._static),
            ],
            redirect_slashes=False,
            default=self._no_such_page,
        )
        # From afar, the page is read again every few seconds.
        self._served = GZipMiddleware(self._router, compresslevel=6)
        prepare()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        refusal = self._access.refusal(Headers(scope=scope))
        await (refusal or self._served)(scope, receive, send)

    async def _overview(self, request: Request) -> Response:
        view = await self._source.overview()
        title = f"{STATES[view.working.state]} · {view.table}"
        values = {"view": view, "title": title, "here": "overview", "here_url": "./", "most": _MOST}
        return self._rendered("overview", request, values)

    async def _row(self, request: Request) -> Response:
        parameter = request.query_params.get("id", "")
        workflow_id = request.path_params.get("workflow_id") or parameter
        if not workflow_id or "\x00" in workflow_id:
            return self._problem(request, "No such page", "The address names no workflow id.")
        view = await self._source.row(workflow_id)
        is_known = view.explanations or view.changes or view.error
        here = self._links(request).row(workflow_id)
        values = {"view": view, "title": workflow_id, "here": "row", "here_url": here}
        return self._rendered("row", request, values, 200 if is_known else 404)

    async def _passes(self, request: Request) -> Response:
        older = request.query_params.get("older")
        with_feed = request.query_params.get("feed") != "off"
        view = await self._source.passes(older, with_feed=with_feed)
        here = self._links(request).passes(older, with_feed=with_feed)
        values = {"view": view, "title": "Passes", "here": "passes", "here_url": here}
        values["with_feed"] = with_feed
        return self._rendered("passes", request, values)

    async def _pass(self, request: Request) -> Response:
        try:
            pass_id = UUID(request.path_params["pass_id"])
        except ValueError:
            return self._problem(request, "No such pass", "The address names no id of a pass.")
        view = await self._source.one_pass(pass_id)
        if view is None:
            why = f"The history has no pass {pass_id}: it may have been pruned."
            return self._problem(request, "No such pass", why)
        if isinstance(view, str):
            return self._problem(request, "Not known now", view, HTTPStatus.SERVICE_UNAVAILABLE)
        here = self._links(request).one_pass(pass_id)
        values = {"view": view, "title": f"Pass {pass_id}", "here": "pass", "here_url": here}
        return self._rendered("pass", request, values)

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return self._problem(request, "No such page", "There is no such file.")
        return Response(static_file(name)[0], headers=_STATIC, media_type=STATIC[name])

    async def _no_such_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = "The address leads nowhere."
        answer = self._problem(Request(scope), "No such page", text)
        await answer(scope, receive, send)

    def _problem(self, request: Request, title: str, text: str, status: int = 404) -> Response:
        values = {"title": title, "text": text, "here": "problem", "here_url": ""}
        return self._rendered("problem", request, values, status)

    def _rendered(
        self, template: str, request: Request, values: Mapping[str, Any], status: int = 200
    ) -> Response:
        html = render(template, {**values, "links": self._links(request)})
        # A row may hold halves of surrogate pairs, which cannot be encoded.
        return Response(html.encode(errors="replace"), status, _PAGE, "text/html")

    def _links(self, request: Request) -> Links:
        raw = request.scope.get("raw_path") or request.scope["path"].encode()
        return Links(depth_of(raw.decode("latin-1")), self._temporal_ui)
