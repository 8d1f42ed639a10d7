"""What every page has in common: safe headers, links that fit its depth, and the other targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from reconciler.web.page.links import Links, depth_of
from reconciler.web.page.render import render

#: Of each answer. Nothing inline runs, and nothing is loaded from elsewhere.
SAFE = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
PAGE = {**SAFE, "Cache-Control": "no-store"}


def overview_of(links: Links) -> str:
    """The page that a switch to another target leads to, if there is none like this one."""
    return links.root


@dataclass(frozen=True, slots=True)
class Frame:
    """Around the pages of one target, or around those that are of none."""

    #: Empty: none, or all of them.
    target: str = ""
    #: Of all targets, in the order of the settings; empty if there are none.
    names: Sequence[str] = ()
    #: The base URL of Temporal's UI; None if it is not set.
    temporal_ui: str | None = None

    def links(self, request: Request) -> Links:
        """Links from the page that is asked for."""
        raw = request.scope.get("raw_path") or request.scope["path"].encode()
        return Links(depth_of(raw.decode("latin-1")), self.temporal_ui, self.target)

    def rendered(
        self,
        template: str,
        request: Request,
        values: Mapping[str, Any],
        status: int = 200,
        same: Callable[[Links], str] = overview_of,
    ) -> Response:
        """A page; `same`: where it is by the links of another target."""
        links = self.links(request)
        targets = [(name, same(links.of(name))) for name in self.names]
        around = {"links": links, "target": self.target, "targets": targets}
        html = render(template, {**values, **around})
        # A row may hold halves of surrogate pairs, which cannot be encoded.
        return Response(html.encode(errors="replace"), status, PAGE, "text/html")

    def problem(
        self,
        request: Request,
        title: str,
        text: str,
        status: int = 404,
        same: Callable[[Links], str] = overview_of,
    ) -> Response:
        """A page that says why there is no other."""
        values = {"title": title, "text": text, "here": "problem", "here_url": ""}
        return self.rendered("problem", request, values, status, same)
