"""The pages of one target, or of the only table where there are no targets."""

from __future__ import annotations

from http import HTTPStatus
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.web.page.frame import Frame
from reconciler.web.page.links import Links
from reconciler.web.page.render import STATES
from reconciler.web.page.source import PageSource

#: Rows of each list on the overview: it is one screen, and small.
_MOST = {"changes": 5, "types": 5, "groups": 8, "risks": 5}


class TargetPages:
    """The overview, passes and rows."""

    def __init__(self, source: PageSource, frame: Frame) -> None:
        self._source, self.frame = source, frame
        self.routes = [
            Route("/", self._overview),
            Route("/rows/", self._row),
            Route("/rows/{workflow_id:path}", self._row),
            Route("/passes", self._passes),
            Route("/passes/{pass_id}", self._pass),
        ]

    async def _overview(self, request: Request) -> Response:
        view = await self._source.overview()
        title = f"{STATES[view.working.state]} · {self.frame.target or view.table}"
        values = {"view": view, "title": title, "here": "overview", "here_url": "./", "most": _MOST}
        return self.frame.rendered("overview", request, values)

    async def _row(self, request: Request) -> Response:
        workflow_id = workflow_id_in(request)
        if workflow_id is None:
            text = "The address names no workflow id."
            return self.frame.problem(request, "No such page", text)
        view = await self._source.row(workflow_id)
        is_known = view.explanations or view.changes or view.error

        def here(links: Links) -> str:
            return links.row(workflow_id)

        values = {"view": view, "title": workflow_id, "here": "row"}
        values["here_url"] = here(self.frame.links(request))
        return self.frame.rendered("row", request, values, 200 if is_known else 404, here)

    async def _passes(self, request: Request) -> Response:
        older = request.query_params.get("older")
        with_feed = request.query_params.get("feed") != "off"
        view = await self._source.passes(older, with_feed=with_feed)
        here_url = self.frame.links(request).passes(older, with_feed=with_feed)
        values = {"view": view, "title": "Passes", "here": "passes", "here_url": here_url}
        values["with_feed"] = with_feed
        return self.frame.rendered(
            "passes", request, values, same=lambda links: links.passes(with_feed=with_feed)
        )

    async def _pass(self, request: Request) -> Response:
        try:
            pass_id = UUID(request.path_params["pass_id"])
        except ValueError:
            text = "The address names no id of a pass."
            return self.frame.problem(request, "No such pass", text)
        view = await self._source.one_pass(pass_id)
        if view is None:
            why = f"The history has no pass {pass_id}: it may have been pruned."
            return self.frame.problem(request, "No such pass", why)
        if isinstance(view, str):
            unknown = HTTPStatus.SERVICE_UNAVAILABLE
            return self.frame.problem(request, "Not known now", view, unknown)
        here = self.frame.links(request).one_pass(pass_id)
        values = {"view": view, "title": f"Pass {pass_id}", "here": "pass", "here_url": here}
        return self.frame.rendered("pass", request, values, same=Links.passes)


def workflow_id_in(request: Request) -> str | None:
    """The workflow id that an address names; None if it names none."""
    parameter = request.query_params.get("id", "")
    workflow_id: str = request.path_params.get("workflow_id") or parameter
    return workflow_id if workflow_id and "\x00" not in workflow_id else None
