"""The routes: what they answer to which method, and with which headers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from reconciler.web.page.access import Access
from reconciler.web.page.render import STATIC
from reconciler.web.routes import create_web
from tests.support.page import views
from tests.support.page.asking import asking
from tests.support.page.source import FakeSource, page_of

PATHS = ["/", "/rows/a/b", "/rows/?id=..", "/passes", f"/passes/{views.PASS}"]


@dataclass
class Health:
    crash: str | None = None

    def why_stalled(self) -> str | None:
        return None

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        return True, {}


async def no_metrics() -> bytes:
    return b""


def client(source: FakeSource | None = None, **access: Any) -> httpx.AsyncClient:
    page = page_of(source or FakeSource(), Access(**{"is_open": True, **access}))
    return asking(create_web({"": Health()}, no_metrics, page))


@pytest.mark.parametrize("path", PATHS)
async def test_pages(path: str) -> None:
    answer = await client().get(path)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("path", [*PATHS, "/static/page.css"])
async def test_head_is_answered_like_get_and_nothing_else_is(path: str) -> None:
    source = FakeSource()
    async with client(source) as browser:
        assert (await browser.head(path)).status_code == 200
        asked = len(source.asked)
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            answer = await browser.request(method, path)
            assert answer.status_code == 405
            assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD"}
    assert len(source.asked) == asked


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/nothing", "./"),
        ("/nothing/a/b", "../../"),
        ("/passes/", "../"),
        ("/passes/not-an-id", "../"),
        ("/rows/", "../"),
        ("/rows/%00", "../"),
        ("/rows", "./"),
        ("/static/", "../"),
        ("/static/../access.py", "./"),
        ("/static/%2e%2e%2faccess.py", "../"),
        ("/static/htmx.LICENSE", "../"),
    ],
)
async def test_what_does_not_exist_has_a_way_back(path: str, root: str) -> None:
    answer = await client().get(path)

    assert answer.status_code == 404
    assert f'<a class="brand" href="{root}">' in answer.text
    assert "Content-Security-Policy" in answer.headers


async def test_a_pass_that_does_not_exist_or_is_not_known_now() -> None:
    source = FakeSource(one=None)
    path = f"/passes/{views.PASS}"

    assert (await client(source).get(path)).status_code == 404
    source.one = "PostgreSQL: connection refused"
    answer = await client(source).get(path)
    assert (answer.status_code, "PostgreSQL: connection refused" in answer.text) == (503, True)


async def test_older_passes() -> None:
    source = FakeSource()
    first = await client(source).get("/passes")
    link = re.findall(r'href="(\./passes\?older=[^"]+)"', first.text)
    await client(source).get(f"/{link[0]}")

    assert source.asked == ["None", "2026 a/b"]
    assert f"undo: undo of {views.PASS}" in first.text


async def test_passes_without_those_of_the_feed() -> None:
    source = FakeSource()
    await client(source).get("/passes?feed=off&older=x")
    shown = (await client(source).get("/passes?feed=off")).text
    await client(source).get("/passes?feed=other")

    assert source.asked == ["x without the feed", "None without the feed", "None"]
    assert 'href="./passes"' in shown, "the way back"
    assert 'href="./passes?feed=off&amp;older=' in shown, "older ones are without them too"


async def test_files_are_cached_by_their_content() -> None:
    page = (await client().get("/")).text
    urls = re.findall(r'"\./(static/[^"]+)"', page)

    assert {url.partition("?")[0] for url in urls} == {f"static/{name}" for name in STATIC}
    for url in urls:
        answer = await client().get(f"/{url}")
        assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"
        assert re.search(r"\?v=[0-9a-f]{12}$", url)


async def test_links_at_each_depth_lead_to_the_same_files() -> None:
    page = (await client().get("/rows/a/b/c")).text

    assert 'href="../../../static/page.css?v=' in page


async def test_probes_and_metrics_need_no_password() -> None:
    async with client(is_open=False) as browser:
        found = [
            (await browser.get(path)).status_code
            for path in ("/livez", "/readyz", "/metrics", "/", "/passes", "/static/page.css")
        ]

    assert found == [200, 200, 200, 403, 403, 403]


async def test_without_a_page_there_is_none() -> None:
    async with asking(create_web({"": Health()}, no_metrics)) as browser:
        assert [(await browser.get(path)).status_code for path in PATHS] == [404] * len(PATHS)
