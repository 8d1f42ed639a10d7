"""Several targets in a real browser: the first page, and the switch between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from playwright.async_api import Browser, expect

from reconciler.app.overview import targets
from tests.browser.test_page import LONG, NARROW, WIDE
from tests.support.page import several, views
from tests.support.page.serving import Site, behind_proxy, served
from tests.support.page.tab import opened_tab
from tests.support.polling import eventually

#: The longest that a name may be.
NAME = "n" * 63


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with served(several.sources(several.few())) as site:
        yield site


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_errs_or_is_a_barrier(browser: Browser, site: Site, scheme: str) -> None:
    async with opened_tab(browser, color_scheme=scheme, viewport=WIDE) as tab:
        for path in ("", "targets/exports/", "targets/exports/passes", "targets/imports/rows/a"):
            await tab.page.goto(site.url + path)
            if path:
                await tab.page.get_by_role("button", name="target").click()
                await expect(tab.page.get_by_role("navigation", name="Targets")).to_be_visible()
            assert (path, await tab.barriers()) == (path, [])
            assert (path, await tab.violations(), tab.complaints) == (path, [], [])
        await tab.page.goto(f"{site.url}targets/no")
        assert await tab.barriers() == []


async def test_a_refresh_shows_a_failure_and_moves_no_line(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "SPREAD", 0.0)
    monkeypatch.setattr(targets, "CURRENT", 0.0)
    async with (
        served(several.sources(several.few())) as site,
        opened_tab(browser, viewport=WIDE) as tab,
    ):
        page = tab.page
        await page.clock.install()
        await page.goto(site.url)
        names = page.locator(".targets tbody th > a")
        before = await names.all_inner_texts()
        link = page.locator(".targets").get_by_role("link", name="orders", exact=True)
        await link.focus()
        site.sources["billing-us"].view = views.failing()

        async def is_shown() -> bool:
            # Its answer first: the time that a request may take passes with the page's clock, too.
            async with page.expect_response(lambda answer: answer.url.endswith("/")):
                await page.clock.run_for(5_100)
            text = await page.get_by_role("status").inner_text()
            return text == "4 of 6 targets do not work"

        await eventually(is_shown)
        await expect(page.locator(".verdict")).to_contain_text("exports, billing-us, signups;")
        await expect(page.locator("tr.failing").nth(1)).to_contain_text("billing-us")
        await expect(link).to_be_focused()
        assert await names.all_inner_texts() == before == list(several.few())
        assert (await tab.violations(), tab.complaints) == ([], [])


@pytest.mark.parametrize("scripts", [True, False])
async def test_the_keyboard_switches_with_and_without_javascript(
    browser: Browser, site: Site, scripts: bool
) -> None:
    url = f"{site.url}targets/exports/passes?feed=off"
    async with opened_tab(browser, url, viewport=WIDE, java_script_enabled=scripts) as tab:
        page = tab.page
        menu = page.get_by_role("navigation", name="Targets")
        await expect(menu).to_be_hidden()
        switch = page.get_by_role("button", name="target exports")
        await switch.focus()
        await page.keyboard.press("Enter")
        await expect(menu).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(menu).to_be_hidden()
        await expect(switch).to_be_focused()
        await page.keyboard.press("Space")
        for _ in range(2):  # all targets, then the first of them
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")

        await expect(page).to_have_url(f"{site.url}targets/orders/passes?feed=off")
        await expect(page.get_by_role("button", name="target orders")).to_be_visible()


async def test_twenty_names_fit_on_a_phone(browser: Browser) -> None:
    views_of = several.many()
    async with served(several.sources(views_of)) as site:
        phone = {"width": 390, "height": 844}
        async with opened_tab(browser, f"{site.url}targets/exports/", viewport=phone) as tab:
            await tab.page.get_by_role("button", name="target exports").click()
            links = tab.page.get_by_role("navigation", name="Targets").get_by_role("link")
            await expect(links).to_have_count(len(views_of) + 1)
            await expect(links.first).to_be_in_viewport(ratio=1)
            await expect(links.last).to_be_in_viewport(ratio=1)


async def test_at_320_pixels_nothing_is_cut_off(browser: Browser) -> None:
    bad = replace(views.failing(), table=LONG, working=views.working(headline=f"Working: {LONG}"))
    async with (
        served(several.sources({**several.many(30), NAME: bad})) as site,
        opened_tab(browser, viewport=NARROW) as tab,
    ):
        for path in ("", f"targets/{NAME}/", f"targets/{NAME}/rows/x", "targets/no"):
            await tab.page.goto(site.url + path)
            assert (path, await tab.overflow()) == (path, 0)
        await tab.page.goto(f"{site.url}targets/{NAME}/")
        await tab.page.get_by_role("button", name="target").click()
        last = tab.page.get_by_role("navigation", name="Targets").get_by_role("link", name=NAME)
        await last.scroll_into_view_if_needed()
        await expect(last).to_be_in_viewport(ratio=1)


async def test_behind_a_proxy_with_a_prefix(browser: Browser, site: Site) -> None:
    async with behind_proxy(site, "/ops/reconciler/") as url, opened_tab(browser, url) as tab:
        page = tab.page
        await page.locator(".targets").get_by_role("link", name="exports", exact=True).click()
        await expect(page).to_have_url(f"{url}targets/exports/")
        await page.locator(".changes th a").first.click()
        await page.get_by_role("button", name="target exports").click()
        await page.get_by_role("link", name="imports", exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(
            "Workflow provision-tenant-4001"
        )
        assert site.sources["imports"].asked[-1] == "provision-tenant-4001"
        await page.get_by_role("link", name="Overview", exact=True).click()
        await expect(page).to_have_url(f"{url}targets/imports/")
        await page.goto(f"{url}targets/orders")
        await expect(page).to_have_url(f"{url}targets/orders/")
        await page.get_by_role("link", name="reconciler", exact=True).click()
        await expect(page).to_have_url(url)
        assert (await tab.violations(), tab.complaints) == ([], [])
