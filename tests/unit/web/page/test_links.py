"""Links work at any depth, behind any prefix, for any workflow id."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest

from reconciler.web.page.links import Links, depth_of
from tests.support.page.asking import asking
from tests.support.page.source import FakeSource, page_of

IDS = [
    "order-1",
    "a/b/c",
    "a//b",
    "/a",
    "a/",
    "..",
    ".",
    "../../etc/passwd",
    "a/../b",
    "a?b=c&d",
    "a#b",
    "100%",
    "%2F",
    "%252e%252e",
    "a b+c",
    "日本/ü",
    "<script>alert(1)</script>",
    "\"quoted'",
    "back\\slash",
    "https://evil.example/",
    "//evil.example/x",
    "javascript:alert(1)",
    "a;b=c:d@e",
    "new\nline",
    "line\n",
]


@pytest.mark.parametrize("workflow_id", IDS)
async def test_a_link_to_a_row_leads_to_that_row(workflow_id: str) -> None:
    source = FakeSource()
    async with asking(page_of(source)) as client:
        for here in ("/", "/passes", "/passes/x", "/rows/a", "/rows/a/b/c", "/rows/"):
            link = Links(depth_of(here)).row(workflow_id)
            url = urljoin(f"http://localhost{here}", link)
            await client.get(url)
            assert source.asked.pop() == workflow_id
            behind = urljoin(f"http://localhost/a/prefix{here}", link)
            assert behind == url.replace("localhost/", "localhost/a/prefix/", 1)


@pytest.mark.parametrize("workflow_id", IDS)
def test_a_proxy_that_decodes_and_normalizes_paths_leaves_links_to_rows_alone(
    workflow_id: str,
) -> None:
    path = urlsplit(Links(0).row(workflow_id)).path.removeprefix("./")

    assert not {"", ".", ".."} & set(path.removesuffix("/").split("/"))
    assert "%2f" not in path.lower()


@pytest.mark.parametrize(
    ("path", "root"),
    [("/", "./"), ("/passes", "./"), ("/passes/x", "../"), ("/rows/a/b/c", "../../../")],
)
def test_the_way_back_to_the_overview(path: str, root: str) -> None:
    assert Links(depth_of(path)).root == root
    assert urljoin(f"http://h/ops{path}", root) == "http://h/ops/"


def test_links_to_temporals_ui() -> None:
    links = Links(0, "https://ui.example/t")

    assert links.temporal("a/b", "w/1?", "r#") == (
        "https://ui.example/t/namespaces/a%2Fb/workflows/w%2F1%3F/r%23/history"
    )
    assert links.temporal("ns", "w", None) == "https://ui.example/t/namespaces/ns/workflows/w"


@pytest.mark.parametrize(
    ("ui", "namespace", "workflow_id"),
    [
        (None, "ns", "w"),
        ("https://ui", None, "w"),
        ("https://ui", "", "w"),
        ("https://ui", "*", "w"),
        ("https://ui", "ns", ".."),
        ("https://ui", "ns", ""),
    ],
)
def test_no_link_to_temporals_ui(ui: str | None, namespace: str | None, workflow_id: str) -> None:
    assert Links(0, ui).temporal(namespace, workflow_id, "r") is None
