"""The page of several targets: which URL is what, and what the first page says."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from urllib.parse import quote, urljoin

import httpx
import pytest

from reconciler.app.overview import patience
from reconciler.app.overview.model import Overview
from reconciler.web.page.access import Access
from reconciler.web.page.render import STATIC
from tests.support.page import several, views
from tests.support.page.asking import asking
from tests.support.page.source import FakeSource, page_of
from tests.unit.web.page.test_render import MARKUP, assert_harmless, poisoned, text_of

BASE = "http://localhost"


def targets() -> dict[str, FakeSource]:
    return several.sources(several.few())


async def get(path: str, sources: dict[str, FakeSource] | None = None) -> httpx.Response:
    async with asking(page_of(sources or targets())) as client:
        return await client.get(f"{BASE}{path}")


def links_of(answer: httpx.Response) -> dict[str, str]:
    """The absolute URL of each link, by its text."""
    found = re.findall(r'<a [^>]*href="([^"]+)"[^>]*>([^<]*)</a>', answer.text)
    return {text: urljoin(str(answer.url), url) for url, text in found}


def switch_of(answer: httpx.Response) -> dict[str, str]:
    (menu,) = re.findall(r'<nav id="targets".*?</nav>', answer.text, re.DOTALL)
    return links_of(httpx.Response(200, text=menu, request=answer.request))


async def test_each_target_has_the_pages_of_its_own_source() -> None:
    sources = targets()
    for path in ("", "rows/a/b", "rows/?id=..", "passes", f"passes/{views.PASS}"):
        assert (await get(f"/targets/exports/{path}", sources)).status_code == 200

    asked = ["overview", "a/b", "..", "None", str(views.PASS)]
    assert sources["exports"].asked == asked
    assert not any(each.asked for name, each in sources.items() if name != "exports")


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("", ""),
        ("passes", "passes"),
        ("passes?feed=off", "passes?feed=off"),
        ("passes?older=x", "passes"),
        (f"passes/{views.PASS}", "passes"),
        ("rows/a/b", "rows/a/b"),
        ("rows/?id=..", "rows/?id=.."),
        ("nothing", ""),
        ("passes/no-id", ""),
    ],
)
async def test_the_switch_leads_to_the_same_page_of_other_targets(path: str, there: str) -> None:
    answer = await get(f"/targets/exports/{path}")

    assert switch_of(answer) == {
        "All 6 targets": f"{BASE}/",
        **{name: f"{BASE}/targets/{name}/{there}" for name in several.few()},
    }
    assert answer.text.count('aria-current="true"') == 1
    assert re.search(r'aria-current="true">exports<', answer.text)


async def test_links_of_a_target_stay_with_it() -> None:
    overview = links_of(await get("/targets/exports/"))
    row = links_of(await get("/targets/exports/rows/a/b"))

    assert overview["provision-tenant-4001"].startswith(f"{BASE}/targets/exports/rows/")
    assert overview["what it did"] == f"{BASE}/targets/exports/passes/{views.PASS}"
    assert row["Overview"] == f"{BASE}/targets/exports/"
    assert row["Passes"] == f"{BASE}/targets/exports/passes"
    assert (row["reconciler"], overview["reconciler"]) == (f"{BASE}/", f"{BASE}/")


@pytest.mark.parametrize(
    "path", ["/", "/targets/exports/", "/targets/exports/rows/a/b", "/targets/no"]
)
async def test_all_share_the_same_files(path: str) -> None:
    sources = targets()
    async with asking(page_of(sources)) as client:
        answer = await client.get(path)
        files = re.findall(r'"((?:\.\./|\./)+static/[^"]+)"', answer.text)
        urls = {urljoin(str(answer.url), each) for each in files}
        assert urls
        for url in urls:
            assert url.removeprefix(f"{BASE}/static/").partition("?")[0] in STATIC
            assert (await client.get(url)).status_code == 200


async def test_titles_and_commands_name_the_target() -> None:
    overview = await get("/targets/imports/")
    row = await get("/targets/imports/rows/-x")

    assert "<title>Not running · imports · reconciler</title>" in overview.text
    assert "<title>-x · imports · reconciler</title>" in row.text
    assert "reconciler stuck --target imports<" in overview.text
    assert "reconciler changes --target imports<" in overview.text
    assert "reconciler explain --target imports -- -x<" in row.text
    assert "RECONCILER_MISSING" not in overview.text, "the section's value would win"
    assert "<code>[targets.imports]</code>" in overview.text


async def test_the_first_page_names_what_does_not_work_and_then_all_in_their_order() -> None:
    answer = await get("/")
    text = text_of(answer.text)

    for expected in (
        "Is it working? as of 14:03:07Z 3 of 6 targets do not work failing: exports , signups ;",
        "not running: imports ; 2 working; 1 on standby",
        "orders orders, namespace shop Working this replica makes the repairs 204 0 0 14:03:03Z",
        "exports exports, namespace shop Running, but failing PostgreSQL cannot be used: refused",
        "(and 1 more) numbers of 14:00:02Z 136 285 14 14:00:07Z 3 min ago feed 4 s behind",
        "On standby reconciler-5d8f7c9b4-x2x7k/7 makes the repairs",
        "Starting connection refused (db.internal:5432) – – – none yet",
    ):
        assert expected in text
    assert "<title>2 failing · 1 not running · 2 working · 1 on standby ·" in answer.text
    rows = re.findall(
        r'<tr class="(\w+)">\s*<th scope="row"><a href="([^"]+)">([^<]+)', answer.text
    )
    assert rows == [
        (state, f"./targets/{name}/", name)
        for name, state in zip(
            several.few(),
            ["working", "failing", "working", "standby", "not_running", "failing"],
            strict=True,
        )
    ]


async def test_numbers_lead_to_what_they_count() -> None:
    answer = await get("/")

    link = '<a href="./targets/exports/#{}" aria-label="{}: exports">{}</a>'
    assert link.format("q2", "136 repaired in 24 h", 136) in answer.text
    assert link.format("q4", "285 stuck", 285) in answer.text
    assert link.format("q5", "14 about to be lost", 14) in answer.text
    for question in ("q2", "q4", "q5"):
        assert f'id="{question}"' in (await get("/targets/exports/")).text


class Hung(FakeSource):
    async def overview(self, *, patient: bool = False) -> Overview:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_target_that_hangs_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 0.01)
    async with asyncio.timeout(30):
        answer = await get("/", {"orders": FakeSource(), "exports": Hung()})

    text = text_of(answer.text)
    assert "1 of 2 targets does not work failing: exports" in text
    assert "exports Not answering no answer within 0.01 s – – – not known" in text
    assert "Working this replica makes the repairs 136 285 14" in text


@pytest.mark.parametrize("path", ["/targets/nope", "/targets/nope/", "/targets/nope/rows/a/b"])
async def test_an_unknown_target(path: str) -> None:
    answer = await get(path)

    assert answer.status_code == 404
    assert "No such target There is no target nope. There are:" in text_of(answer.text)
    found = links_of(answer)
    assert {name: found[name] for name in several.few()} == {
        name: f"{BASE}/targets/{name}/" for name in several.few()
    }
    assert found["To all targets"] == f"{BASE}/"


@pytest.mark.parametrize("path", ["rows/a/b", "rows/?id=..", "passes"])
async def test_a_link_from_before_there_were_targets_asks_which(path: str) -> None:
    answer = await get(f"/{path}")

    assert (answer.status_code, "Which target?" in answer.text) == (404, True)
    assert links_of(answer)["exports"] == f"{BASE}/targets/exports/{path}"


async def test_an_address_without_its_last_slash() -> None:
    answer = await get("/targets/exports")

    assert (answer.status_code, answer.headers["Location"]) == (307, "exports/")


async def test_one_target_alone_needs_no_list_and_no_switch() -> None:
    sources = {"orders": FakeSource()}
    first = await get("/", sources)
    page = await get("/targets/orders/", sources)

    assert (first.status_code, first.headers["Location"]) == (307, "targets/orders/")
    assert "popover" not in page.text
    assert "target orders" in text_of(page.text)


@pytest.mark.parametrize(
    "path", ["/", "/targets/exports/", "/targets/exports", "/targets/no", "/rows/x"]
)
async def test_one_rule_says_who_may_see_all_of_them(path: str) -> None:
    sources = targets()
    async with asking(page_of(sources, Access(on_loopback=True))) as client:
        answer = await client.get(f"{BASE}{path}", headers={"Host": "evil.example"})
    async with asking(page_of(sources, Access(password=lambda: "s3cret"))) as client:
        locked = await client.get(f"{BASE}{path}")

    assert (answer.status_code, locked.status_code) == (403, 401)
    assert not any(each.asked for each in sources.values())


async def test_twenty_targets_are_small() -> None:
    failing = {
        name: replace(views.failing(), table="t" * 255, namespace="n" * 255)
        for name in several.many()
    }
    answer = await get("/", several.sources(failing))
    paths = [f"/static/{name}" for name in STATIC]
    files = [await get(path) for path in paths]

    assert sum(int(each.headers["Content-Length"]) for each in (answer, *files)) < 30_000
    assert len(answer.text) < 60_000


async def test_hostile_text_in_each_field() -> None:
    sources = {name: FakeSource(poisoned(view)) for name, view in several.few().items()}

    assert_harmless((await get("/", sources)).text)
    assert_harmless(
        (await get("/targets/" + quote(MARKUP.replace("/", "|"), errors="replace"))).text
    )
