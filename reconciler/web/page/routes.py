"""The routes of the page. GET and HEAD only; no answer depends on a server being reachable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import Receive, Scope, Send

from reconciler.app.overview.targets import Targets
from reconciler.core.text import one_line
from reconciler.web.page.access import Access
from reconciler.web.page.frame import PAGE, SAFE, Frame
from reconciler.web.page.links import Links
from reconciler.web.page.render import ID, STATES, STATIC, prepare, static_file
from reconciler.web.page.source import PageSource
from reconciler.web.page.target import TargetPages, workflow_id_in

#: Their URL changes with their content.
_STATIC = {**SAFE, "Cache-Control": "private, max-age=31536000, immutable"}


class Page:
    """The page as an ASGI application; who may not see it is refused before anything else."""

    def __init__(
        self,
        sources: Mapping[str, PageSource],
        access: Access,
        temporal_uis: Mapping[str, str | None],
    ) -> None:
        """The sources of the targets by name, in order; of `""` alone if there are no targets."""
        self._access = access
        self._targets = Targets(
            {name: partial(each.overview, patient=True) for name, each in sources.items()}
        )
        self._names = [name for name in sources if name]
        self._frame = Frame(names=self._names)
        each = {
            name: TargetPages(source, Frame(name, self._names, temporal_uis.get(name)))
            for name, source in sources.items()
        }
        routes = self._of_targets(each) if self._names else each[""].routes
        router = _router([Route("/static/{name}", self._static), *routes], self._frame)
        # From afar, the page is read again every few seconds.
        self._served = GZipMiddleware(router, compresslevel=6)
        prepare()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        refusal = self._access.refusal(Headers(scope=scope))
        await (refusal or self._served)(scope, receive, send)

    def _of_targets(self, each: Mapping[str, TargetPages]) -> Iterator[BaseRoute]:
        yield Route("/", self._all)
        for name, pages in each.items():
            yield Mount(f"/targets/{name}", _router(pages.routes, pages.frame))
        yield Route("/targets/{name}", self._target)
        yield Route("/targets/{name}/{rest:path}", self._target)
        # Where these are without targets: links to them may be older than the targets.
        yield Route("/passes", self._which)
        yield Route("/rows/", self._which)
        yield Route("/rows/{workflow_id:path}", self._which)

    async def _all(self, request: Request) -> Response:
        if len(self._names) == 1:
            return _to(f"targets/{self._names[0]}/")
        found = await self._targets.read()
        title = " · ".join(
            f"{count} {STATES[state].lower()}" for state, count in found.counts.items()
        )
        values = {"view": found, "title": title, "here": "targets", "here_url": "./"}
        return self._frame.rendered("targets", request, values)

    async def _target(self, request: Request) -> Response:
        """One that is not there, or whose address lacks the slash at its end."""
        name = request.path_params["name"]
        if name in self._names:
            return _to(f"{name}/")
        text = f"There is no target {one_line(name, ID)}. There are:"
        return self._frame.problem(request, "No such target", text)

    async def _which(self, request: Request) -> Response:
        workflow_id = workflow_id_in(request)

        def same(links: Links) -> str:
            return links.passes() if workflow_id is None else links.row(workflow_id)

        return self._frame.problem(request, "Which target?", "Each has its own:", same=same)

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return self._frame.problem(request, "No such page", "There is no such file.")
        return Response(static_file(name)[0], headers=_STATIC, media_type=STATIC[name])


def _router(routes: Iterable[BaseRoute], frame: Frame) -> Router:
    """Without redirects: Starlette's are absolute, and wrong behind a prefix."""

    async def no_such_page(scope: Scope, receive: Receive, send: Send) -> None:
        answer = frame.problem(Request(scope), "No such page", "The address leads nowhere.")
        await answer(scope, receive, send)

    return Router(routes=list(routes), redirect_slashes=False, default=no_such_page)


def _to(url: str) -> Response:
    """To another page, relative to the folder of this one."""
    return Response(status_code=307, headers={**PAGE, "Location": url})
