"""What the page shows, and that nothing in a row can do more than be shown."""

from __future__ import annotations

import re
import subprocess
from dataclasses import fields, is_dataclass, replace
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID

import httpx
import pytest

from reconciler.app.overview.model import AtRisk, Overview, Repaired, State, Stuck
from reconciler.core.model import Missing, Open
from reconciler.core.stuck.condition import Condition, Reason
from reconciler.core.text import visible
from reconciler.web.page.render import STATIC, ago, clock
from tests.support.hostile import HOSTILE, unseen
from tests.support.page import views
from tests.support.page.asking import asking
from tests.support.page.source import FakeSource, page_of
from tests.support.page.views import NOW

MARKUP = f"<script>alert(1)</script>\"'&{{{{ 7*7 }}}}<img src=x onerror=alert(2)>{HOSTILE}"


async def get(source: FakeSource, path: str = "/") -> httpx.Response:
    async with asking(page_of(source, temporal_ui="https://ui.example")) as client:
        return await client.get(f"http://localhost{path}")


async def html(view: Overview) -> str:
    answer = await get(FakeSource(view))
    assert answer.status_code == 200
    return answer.text


def text_of(page: str) -> str:
    """What is between the tags, in one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def poisoned(value: Any) -> Any:
    """A copy with hostile text in each text, however deep."""
    if isinstance(value, UUID | State) or value is None:
        return value
    if type(value) is str:
        return MARKUP
    if isinstance(value, tuple | list):
        return type(value)(poisoned(each) for each in value)
    if isinstance(value, dict):
        return {key: poisoned(each) for key, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        changed = {
            each.name: poisoned(getattr(value, each.name)) for each in fields(value) if each.init
        }
        return replace(value, **changed)
    return value


def assert_harmless(page: str) -> None:
    found = Tags()
    found.feed(page)
    assert "{{ 7*7 }}" in page
    assert "img" not in found.tags
    assert found.tags.count("script") <= 2
    assert not {name for name in found.attributes if name.startswith("on") or name == "style"}
    assert {urlsplit(url).scheme for url in found.urls} <= {"", "https"}
    assert unseen(page) == set()


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.urls += [str(value) for name, value in attrs if name in ("href", "src")]


@pytest.mark.parametrize("make", [views.overview, views.failing, views.starting])
async def test_hostile_text_in_each_field_of_the_overview(make: Any) -> None:
    assert_harmless(await html(poisoned(make())))


async def test_hostile_text_in_each_field_of_the_other_pages() -> None:
    source = FakeSource(rows={"x": poisoned(views.row_page("x"))})
    source.one = poisoned(views.pass_page(views.PASS))

    assert_harmless((await get(source, "/rows/x")).text)
    assert_harmless((await get(source, f"/passes/{views.PASS}")).text)
    source.one = MARKUP
    assert_harmless((await get(source, f"/passes/{views.PASS}")).text)


async def test_a_status_that_is_called_like_markup() -> None:
    hours = tuple(replace(hour, rows={MARKUP: 1}) for hour in views.repaired().hours)
    given = Repaired(hours=hours, statuses=(MARKUP,), total=24, newest=())

    assert_harmless(await html(views.overview(repaired=given)))


async def test_the_overview_answers_five_questions() -> None:
    text = text_of(await html(views.overview()))

    for expected in (
        "Is it working? as of 14:03:07Z Working this replica makes the repairs",
        "285 rows stuck 14 rows about to be lost 136 repaired in 24 h",
        "Last good pass 14:02:55Z 12 s ago",
        "Next pass 14:03:25Z in 18 s",
        "Lease reconciler-5d8f7c9b4-x2x7k/7",
        "PostgreSQL answers db.internal:5432/shop",
        "Feed of ended workflows followed, 4 s behind makes the repairs; passes are its safety net",
        "What was repaired? 136 rows in the last 24 hours",
        "136 rows repaired in 24 hours: 30 completed, 106 failed. Most from 00:00: 41.",
        "running → failed · FAILED 13:56:04Z create_zone: QuotaExceeded: zone limit is 50",
        "Which workflow types lose their last write?",
        "21 other rows were repaired: by once or backfill",
        "ProvisionTenant 103 2 4 s , max. 11 min",
        "What is stuck, and why? 285 rows",
        "214 ActivityRetrying ProvisionTenant oldest: tenant-4711 create_zone: QuotaExceeded: zone",
        "repair what the failure names",
        "1 Paused Import tenant-4711 paused by alice: waits for 4711",
        "What is about to be lost? 14 rows",
        "12 never started : start it, or finish the row.",
        "import-903 row created 28 Nov 05:03Z never started first seen 6 h ago",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("view", "state", "title"),
    [
        (views.overview(), "working", "Working"),
        (views.failing(), "failing", "Failing"),
        (views.not_running(), "not_running", "Not running"),
        (views.starting(), "starting", "Starting"),
        (views.standby(), "standby", "On standby"),
    ],
)
async def test_each_state_has_a_look_and_a_title_of_its_own(
    view: Overview, state: str, title: str
) -> None:
    page = await html(view)

    assert f'<section class="state {state}"' in page
    assert f"<title>{title} · workflow_executions · reconciler</title>" in page


async def test_every_error_has_its_time() -> None:
    text = text_of(await html(views.failing()))

    assert "PostgreSQL could not be read at 14:03:05Z 2 s ago : connection refused" in text
    assert "was read at 14:00:02Z 3 min ago" in text
    assert "PostgreSQL does not answer since 14:00:07Z 3 min ago" in text
    assert "14:02:58Z 9 s ago pass PostgreSQL: the connection was closed" in text
    assert "29 Nov 08:03Z 30 h ago feed Temporal: no answer within 10 s" in text


async def test_a_group_leads_to_its_oldest_workflow() -> None:
    groups = views.group(rows=1_215), views.group(rows=1, oldest_id="a/b")
    stuck = Stuck(groups=groups, rows=1_216, groups_left_out=0, checked_at=NOW)
    page = await html(views.overview(stuck=stuck))

    text = "create_zone: QuotaExceeded: zone limit is 50 (attempt 7 of 10)"
    assert f'oldest: <a href="./rows/tenant-4711" title="{text}">tenant-4711</a></small>' in page
    assert f'<small><a href="./rows/a/b" title="{text}">a/b</a></small>' in page
    assert f'<span class="cut">{text}</span>' in page


async def test_what_is_empty_says_so() -> None:
    text = text_of(await html(views.empty()))

    assert "Nothing: no pass has changed a row." in text
    assert "None: run found no row that its workflow had left behind." in text
    assert "Nothing: every open workflow is making progress" in text
    assert (
        "as of the pass that ended 13:59:07Z 4 min ago ; passes judge each row every 10 min."
        in text
    )
    assert "Nothing: Temporal knows the workflow of every running row" in text


async def test_what_was_never_read_is_not_called_empty() -> None:
    text = text_of(await html(views.starting()))

    assert text.count("Not known: no server was reached yet") == 4
    assert "Nothing" not in text


async def test_the_page_is_small_also_with_long_lists_and_texts() -> None:
    long = "".join(map(str, range(500)))
    change = views.change(1, workflow_id=long, new=replace(views.change().new, error_message=long))
    full = views.overview(
        repaired=views.repaired(*[change] * 20),
        losing=views.losing_types(*(views.losing(long[:255]),) * 50),
        stuck=Stuck(
            groups=(views.group(text=long[:200], oldest_id=long, oldest_text=long),) * 20,
            rows=1,
            groups_left_out=9,
            checked_at=NOW,
        ),
        at_risk=AtRisk(rows=(views.row_at_risk(text=long),) * 20, counts={}, retention=None),
    )

    assert await transferred(full) < 40_000
    assert await transferred(views.overview()) < 25_000


async def transferred(view: Overview) -> int:
    """The bytes of the page and of all its files, as browsers ask for them."""
    paths = ["/", *(f"/static/{name}" for name in STATIC)]
    answers = [await get(FakeSource(view), path) for path in paths]
    return sum(int(answer.headers["Content-Length"]) for answer in answers)


async def test_a_row_without_a_journal_and_an_id_without_a_row() -> None:
    nothing = views.row_page("x", explanations=(), changes=(), current=Missing())
    answer = await get(FakeSource(rows={"x": nothing}), "/rows/x")

    assert answer.status_code == 404
    assert "No row of the table has this workflow id. Temporal: not found" in text_of(answer.text)
    paused = Condition(Reason.PAUSED, "paused by ops", None)
    child = views.row_page("x", explanations=(), current=Open(), condition=paused)
    text = text_of((await get(FakeSource(rows={"x": child}), "/rows/x")).text)
    assert "Temporal: open (RUNNING), Paused: paused by ops." in text
    known = views.row_page("x", explanations=(), changes=(), error="PostgreSQL: refused")
    answer = await get(FakeSource(rows={"x": known}), "/rows/x")
    assert (answer.status_code, "PostgreSQL: refused" in answer.text) == (200, True)


async def test_a_row_shows_what_explain_says_and_its_journal() -> None:
    text = text_of((await get(FakeSource(), "/rows/order/1")).text)

    assert "Temporal open (RUNNING)" in text
    assert "why open not known: not all of its queues and children could be asked about" in text
    assert "verdict leave: still open in Temporal" in text
    assert "running → failed" in text
    assert "reconciler explain order/1" in text


async def test_what_an_application_has_stored_cannot_make_a_page_large() -> None:
    view, source = views.row_page("fat"), FakeSource()
    (shown,) = view.explanations
    stored = replace(shown.stored, error_message="<\u202e" * 1_000_000)
    explained = (replace(shown, stored=stored),)
    source.rows["fat"] = replace(view, explanations=explained, only_newest=True)

    page = (await get(source, "/rows/fat")).text
    assert len(page) < 60_000
    assert "The newest 1 rows" in page


@pytest.mark.parametrize(
    "workflow_id",
    [
        "a b; rm -rf '$HOME' `id` \"\\",
        "-rf",
        "--help",
        "reversed \u202e and\n\tbroken \\u202e ' \x85 \xad \U000e0041",
    ],
)
async def test_a_command_that_is_copied_means_the_workflow_id(workflow_id: str) -> None:
    answer = await get(FakeSource(), f"/rows/?id={quote(workflow_id)}")
    (typed,) = re.findall("<code class=command>(.*)</code>", answer.text)
    shell = ["bash", "-c", f"printf '%s|' {unescape(typed)}"]
    words = subprocess.run(shell, capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})

    options = ["--"] if workflow_id.startswith("-") else []
    expected = ["reconciler", "explain", *options, workflow_id, ""]
    assert words.stdout.decode().split("|") == expected
    assert visible(typed) == typed


async def test_links_to_temporals_ui() -> None:
    page = await html(views.overview())

    run = f"https://ui.example/namespaces/default/workflows/order%2F2026%2F3/{views.RUN}/history"
    assert f'href="{run}"' in page


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.4, "now"), (1, "1 s ago"), (119, "119 s ago"), (120, "2 min ago"), (7199, "119 min ago"),
     (7200, "2 h ago"), (172_800, "2 d ago"), (-20, "in 20 s"), (-7200, "in 2 h")],
)  # fmt: skip
def test_relative_times(seconds: float, expected: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == expected


def test_times_name_their_day_unless_it_is_today() -> None:
    assert clock(NOW, NOW) == "14:03:07Z"
    assert clock(NOW - timedelta(days=1), NOW) == "29 Nov 14:03Z"
    assert clock(NOW - timedelta(days=400), NOW) == "2025-10-26 14:03Z"
