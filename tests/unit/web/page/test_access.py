"""Who may see the page."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx
import pytest

from reconciler.core.errors import ConfigurationError
from reconciler.host.files import read_secret
from reconciler.web.page.access import (
    NEEDS_PASSWORD,
    NOT_BY_LOOPBACK_NAME,
    NOT_LOOPBACK,
    UNREADABLE,
    Access,
    is_loopback,
)
from tests.support.page.asking import asking
from tests.support.page.source import FakeSource, page_of

LOOPBACK = Access(on_loopback=True)


def basic(password: bytes, user: bytes = b"me") -> str:
    return "Basic " + base64.b64encode(user + b":" + password).decode()


async def get(
    access: Access, host: str = "localhost:8080", path: str = "/", **headers: str
) -> httpx.Response:
    async with asking(page_of(FakeSource(), access)) as client:
        return await client.get(f"http://x{path}", headers={"Host": host, **headers})


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:80",
        "localhost.",
        "page.localhost:1",
        "127.0.0.1",
        "127.8.8.8:1",
        "[::1]:8080",
    ],
)
async def test_on_loopback_it_is_open_by_loopback_names(host: str) -> None:
    assert (await get(LOOPBACK, host)).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "[::2]",
        "[",
        "::1",
        "[::1]evil.example",
        "localhost:80@evil.example",
        "localhost:evil.example",
        "me@localhost",
    ],
)
@pytest.mark.parametrize("path", ["/", "/passes", "/static/page.css", "/nothing"])
async def test_on_loopback_another_name_is_refused(host: str, path: str) -> None:
    answer = await get(LOOPBACK, host, path)

    assert (answer.status_code, answer.text) == (403, NOT_BY_LOOPBACK_NAME)
    assert answer.text.count("\n") == 1


async def test_what_a_proxy_forwards_changes_nothing() -> None:
    forwarded = {
        "X-Forwarded-Host": "localhost",
        "X-Forwarded-For": "127.0.0.1",
        "Forwarded": "for=127.0.0.1;host=localhost",
        "X-Real-IP": "127.0.0.1",
    }

    assert (await get(LOOPBACK, "evil.example", **forwarded)).status_code == 403
    assert (await get(Access(), "localhost", **forwarded)).status_code == 403


async def test_elsewhere_it_is_closed_and_says_how_to_open_it() -> None:
    answer = await get(Access(), "localhost")

    assert (answer.status_code, answer.text) == (403, NOT_LOOPBACK)
    assert answer.text.count("\n") == 1
    assert "RECONCILER_PAGE_PASSWORD" in answer.text
    assert "RECONCILER_PAGE=open" in answer.text


@pytest.mark.parametrize("host", ["evil.example", "localhost"])
async def test_open_means_everyone(host: str) -> None:
    assert (await get(Access(is_open=True), host)).status_code == 200


@pytest.mark.parametrize("password", ["s3cret", "pä§:s🙂", " with spaces ", "a" * 1000])
@pytest.mark.parametrize("user", [b"", b"me", "jürgen".encode()])
async def test_the_password_with_any_user_name(password: str, user: bytes) -> None:
    access = Access(password=lambda: password, on_loopback=True)
    header = basic(password.encode(), user)

    assert (await get(access, "any.example", Authorization=header)).status_code == 200
    assert (await get(access, Authorization=header.replace("Basic", "bAsIc "))).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"s3cret").decode(),
        "Basic " + base64.b64encode(b"s3cret:").decode(),
        basic(b""),
        basic(b"S3cret"),
        basic(b"s3cret "),
        basic(b"s3cre"),
        basic(b"\xff"),
        basic(b"s3cret").replace("Basic", "Bearer"),
        "Digest username=me",
    ],
)
async def test_another_password_or_scheme(header: str) -> None:
    answer = await get(Access(password=lambda: "s3cret", on_loopback=True), Authorization=header)

    assert (answer.status_code, answer.text) == (401, NEEDS_PASSWORD)
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="reconciler", charset="UTF-8"'


async def test_a_password_file_is_read_for_each_request(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("old\n")
    access = Access(password=lambda: read_secret("X", file))
    statuses = [(await get(access, Authorization=basic(b"old"))).status_code]
    file.write_text("new\n")
    statuses.append((await get(access, Authorization=basic(b"old"))).status_code)
    statuses.append((await get(access, Authorization=basic(b"new"))).status_code)
    file.unlink()
    closed = await get(access, Authorization=basic(b"new"))

    assert statuses == [200, 401, 200]
    assert (closed.status_code, closed.text) == (503, UNREADABLE)
    assert str(tmp_path) not in closed.text


async def test_refusals_are_not_cached_or_guessed_at() -> None:
    def unreadable() -> str:
        raise ConfigurationError("no")

    for access in (Access(), Access(password=lambda: "x"), Access(password=unreadable)):
        answer = await get(access)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("no such host", False),
    ],
)
def test_loopback_addresses(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
