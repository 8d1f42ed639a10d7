"""The page in a real browser: what it must never do, and for whom it must work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.async_api import Browser, Page, expect

from reconciler.app.overview.model import Overview, Stuck
from tests.support.page import views
from tests.support.page.serving import Site, behind_proxy, served
from tests.support.page.source import FakeSource
from tests.support.page.tab import opened_tab

OVERVIEWS: dict[str, Callable[[], Overview]] = {
    "full": views.overview,
    "failing": views.failing,
    "not running": views.not_running,
    "starting": views.starting,
    "standby": views.standby,
    "empty": views.empty,
}
OTHERS = ["rows/order/2026/1", "passes", f"passes/{views.PASS}"]
WIDE = {"width": 1280, "height": 1024}
NARROW = {"width": 320, "height": 640}
LONG = "x" * 300
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>\"onmouseover='alert(3)"


async def refresh(page: Page) -> None:
    """Let the next refresh be due."""
    await page.evaluate("htmx.trigger(document.getElementById('live'), 'every', {}, false)")


def stuck(text: str) -> Stuck:
    groups = (views.group(text=text, workflow_type=text, oldest_id=text, oldest_text=text),)
    return Stuck(groups=groups, rows=1, groups_left_out=0, checked_at=None)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_errs_or_is_a_barrier(browser: Browser, site: Site, scheme: str) -> None:
    async with opened_tab(browser, color_scheme=scheme, viewport=WIDE) as tab:
        for name, make in OVERVIEWS.items():
            site.source.view = make()
            await tab.page.goto(site.url)
            await expect(tab.page.locator("#pause")).to_be_visible()
            assert (name, await tab.barriers()) == (name, [])
            assert (name, await tab.violations(), tab.complaints) == (name, [], [])
        for path in OTHERS:
            await tab.page.goto(site.url + path)
            assert (path, await tab.barriers()) == (path, [])
            assert (path, await tab.violations(), tab.complaints) == (path, [], [])
        back = await tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        is_dark = sum(int(each) for each in back[4:-1].split(",")) < 300
        assert is_dark == (scheme == "dark")
        assert all(url.startswith(site.url) for url in tab.requests)


async def test_at_320_pixels_nothing_is_cut_off(browser: Browser, site: Site) -> None:
    change = views.change(1, workflow_id=LONG, workflow_type=LONG, row_id=LONG)
    long = views.overview(
        table=LONG,
        working=views.working(headline=f"Working: {LONG}", holder=LONG, errors=views.ERRORS),
        repaired=views.repaired(change),
        losing=views.losing_types(views.losing(LONG)),
        stuck=stuck(LONG),
    )
    site.source.rows["long"] = views.row_page(LONG, changes=(change,))
    async with opened_tab(browser, viewport=NARROW) as tab:
        for view in (views.overview(), views.failing(), long):
            site.source.view = view
            await tab.page.goto(site.url)
            assert await tab.overflow() == 0
        assert await tab.barriers() == []
        for path in (*OTHERS, "rows/long", "nothing"):
            await tab.page.goto(site.url + path)
            assert (path, await tab.overflow()) == (path, 0)


async def test_a_full_overview_fits_on_one_screen(browser: Browser, site: Site) -> None:
    async with opened_tab(browser, site.url, viewport=WIDE) as tab:
        assert await tab.overflow() == 0
        for number in range(1, 6):
            await expect(tab.page.locator(f"#q{number}")).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("rows", [8_888, 88_888_888])
async def test_large_numbers_are_whole(browser: Browser, site: Site, rows: int) -> None:
    hours = tuple(replace(hour, rows={"failed": rows}) for hour in views.repaired().hours)
    site.source.view = views.overview(
        repaired=replace(views.repaired(), hours=hours, statuses=("failed",), total=24 * rows),
        stuck=Stuck(
            groups=(views.group(rows=rows),), rows=rows, groups_left_out=0, checked_at=views.NOW
        ),
    )
    async with opened_tab(browser, site.url, viewport=WIDE) as tab:
        left = "Math.round(e.getBoundingClientRect().left)"
        (axis,) = await tab.page.locator(".bars").evaluate_all(f"a => a.map(e => {left})")
        labels = await tab.page.locator(".bars text.end").evaluate_all(f"a => a.map(e => {left})")
        assert min(labels) >= axis
        too_wide = "a => a.filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"
        assert await tab.page.locator("td.number").evaluate_all(too_wide) == []


async def test_a_refresh_shows_what_is_new_and_keeps_what_the_reader_did(
    browser: Browser, site: Site
) -> None:
    async with opened_tab(browser, viewport={"width": 1280, "height": 400}) as tab:
        page = tab.page
        await page.clock.install()
        await page.goto(site.url)
        await page.locator("summary").click()
        link = page.get_by_role("link", name="provision-tenant-4002", exact=True)
        await link.focus()
        await page.mouse.wheel(0, 300)
        await page.wait_for_function("window.scrollY > 0")
        scrolled = await page.evaluate("window.scrollY")
        site.source.view = views.failing()
        await page.clock.run_for(5_100)

        await expect(page.get_by_role("status")).to_have_text("Running, but failing")
        await expect(page).to_have_title("Failing · workflow_executions · reconciler")
        await expect(link).to_be_focused()
        assert await page.locator("details").get_attribute("open") is not None
        assert abs(await page.evaluate("window.scrollY") - scrolled) < 300
        assert (await tab.violations(), tab.complaints) == ([], [])


async def test_the_keyboard_reaches_everything_and_pauses(browser: Browser, site: Site) -> None:
    async with opened_tab(browser, viewport=WIDE) as tab:
        page = tab.page
        await page.clock.install()
        await page.goto(site.url)
        pause = page.get_by_role("button", name="Pause refresh")
        await expect(pause).to_be_visible()
        reached = []
        for _ in range(6):
            await page.keyboard.press("Tab")
            reached.append(await page.evaluate("document.activeElement.textContent.trim()"))
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert await page.evaluate(outline) != "none"
        assert reached[:5] == [
            "Skip to the content",
            "reconciler",
            "Passes",
            "Pause refresh",
            "Refresh",
        ]

        await pause.focus()
        await page.keyboard.press("Space")
        await expect(pause).to_have_attribute("aria-pressed", "true")
        await expect(page.locator("#how")).to_contain_text("paused")
        asked = len(site.source.asked)
        await page.clock.run_for(30_000)
        assert len(site.source.asked) == asked
        site.source.view = views.not_running()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("Not running")


async def test_the_first_link_skips_to_the_content(browser: Browser, site: Site) -> None:
    async with opened_tab(browser, site.url) as tab:
        await tab.page.keyboard.press("Tab")
        await tab.page.keyboard.press("Enter")

        await expect(tab.page.locator("#live")).to_be_focused()


async def test_without_javascript_the_page_is_complete(browser: Browser, site: Site) -> None:
    async with opened_tab(browser, site.url, java_script_enabled=False) as tab:
        page = tab.page
        await expect(page.get_by_role("status")).to_have_text("Working")
        await expect(page.locator("#pause")).to_be_hidden()
        await expect(page.get_by_text("ActivityRetrying")).to_be_visible()
        site.source.view = views.failing()
        await page.get_by_role("link", name="Refresh").click()
        await expect(page.get_by_role("status")).to_have_text("Running, but failing")
        await page.get_by_role("link", name="order/2026/3", exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Workflow order/2026/3")
        assert tab.complaints == []


@pytest.mark.parametrize("workflow_id", ["order/日本 ü", "a//..//b?c#d%2F", MARKUP])
async def test_behind_a_proxy_with_a_prefix(browser: Browser, site: Site, workflow_id: str) -> None:
    site.source.view = views.overview(
        repaired=views.repaired(views.change(1, workflow_id=workflow_id))
    )
    async with behind_proxy(site, "/ops/reconciler/") as url, opened_tab(browser, url) as tab:
        page = tab.page
        await page.locator(".changes th a").first.click()
        await expect(page.locator("h1 .id")).to_have_text(workflow_id)
        assert site.source.asked[-1] == workflow_id
        await page.get_by_role("link", name="pass of").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(f"Pass {views.PASS}")
        await page.get_by_role("link", name="Passes", exact=True).click()
        await page.get_by_role("link", name="Older passes").click()
        await page.get_by_role("link", name="reconciler", exact=True).click()
        await expect(page).to_have_url(url)
        site.source.view = views.failing()
        await refresh(page)
        await expect(page.get_by_role("status")).to_have_text("Running, but failing")
        assert (
            await page.evaluate("getComputedStyle(document.querySelector('header')).display")
            == "flex"
        )
        assert (await tab.violations(), tab.complaints) == ([], [])


async def test_text_from_rows_is_only_shown(browser: Browser, site: Site) -> None:
    change = views.change(1, workflow_id=MARKUP, workflow_type=MARKUP, temporal_status=MARKUP)
    site.source.view = views.overview(
        table=MARKUP,
        repaired=views.repaired(change),
        losing=views.losing_types(views.losing(MARKUP)),
        stuck=stuck(MARKUP),
        at_risk=replace(
            views.at_risk(), rows=(views.row_at_risk(workflow_id=MARKUP, text=MARKUP),)
        ),
    )
    async with opened_tab(browser, site.url) as tab:
        shown = await tab.page.locator("body").inner_text()
        assert shown.count("<script>alert(1)</script>") >= 7
        await refresh(tab.page)
        await tab.page.locator(".changes th a").first.hover()
        await tab.page.locator(".changes th a").first.click()
        await expect(tab.page.locator("h1 .id")).to_have_text(MARKUP)
        assert await tab.page.locator("img").count() == 0
        assert (await tab.violations(), tab.complaints) == ([], [])


async def test_while_a_server_is_down_a_banner_says_so(browser: Browser, site: Site) -> None:
    site.source.view = views.failing()
    async with opened_tab(browser, site.url) as tab:
        banner = tab.page.locator("main .banner")
        await expect(banner).to_contain_text("PostgreSQL could not be read at 14:03:05Z")
        await expect(banner).to_contain_text("was read at 14:00:02Z")
        await expect(tab.page.locator(".changes")).to_be_visible()


async def test_a_page_that_gets_no_answer_says_so_until_it_does(browser: Browser) -> None:
    source = FakeSource()
    async with served(source) as site, opened_tab(browser, site.url) as tab:
        lost = tab.page.get_by_role("alert")
        await expect(tab.page.locator("#pause")).to_be_visible()
        await expect(lost).to_be_hidden()
        await tab.page.route("**/*", lambda route: route.abort())
        await refresh(tab.page)
        await expect(lost).to_contain_text("there was no answer. Is reconciler running?")
        await tab.page.unroute("**/*")
        answer = {"status": 502, "body": "<h1>Bad Gateway</h1>", "content_type": "text/html"}
        await tab.page.route("**/*", lambda route: route.fulfill(**answer))
        await refresh(tab.page)
        await expect(lost).to_contain_text("HTTP 502")
        await expect(tab.page.get_by_role("status")).to_have_text("Working")
        await tab.page.unroute("**/*")
        await refresh(tab.page)
        await expect(lost).to_be_hidden()


async def test_a_click_selects_a_command(browser: Browser, site: Site) -> None:
    async with opened_tab(browser, f"{site.url}passes/{views.PASS}") as tab:
        await tab.page.get_by_text("reconciler undo").click()

        selected = await tab.page.evaluate("getSelection().toString()")
        assert selected.strip() == f"reconciler undo {views.PASS}"
