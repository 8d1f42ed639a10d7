"""The settings for the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.errors import ConfigurationError
from reconciler.settings.display import resolved_settings
from reconciler.settings.page import PageAccess
from tests.unit.settings.conftest import SECRET, load, refusal_of


def test_by_default_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)

    assert (settings.page, settings.password(), settings.temporal_ui) == (None, None, None)


@pytest.mark.parametrize("value", list(PageAccess))
def test_open_and_off(monkeypatch: pytest.MonkeyPatch, value: PageAccess) -> None:
    assert load(monkeypatch, PAGE=value.value).page is value


@pytest.mark.parametrize("value", ["on", "OPEN", "", "closed"])
def test_another_access(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    line = refusal_of(monkeypatch, PAGE=value)

    assert line == f"RECONCILER_PAGE: must be 'open' or 'off' (it is {value!r})"


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, PAGE_PASSWORD=SECRET)
    password = settings.password()

    assert password is not None
    assert password() == SECRET
    assert SECRET not in repr(settings)
    assert SECRET not in repr(resolved_settings(settings))


@pytest.mark.parametrize("value", ["", " ", "\n"])
def test_an_empty_password(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    line = refusal_of(monkeypatch, PAGE_PASSWORD=value)

    assert line == "RECONCILER_PAGE_PASSWORD: must not be empty"


def test_an_empty_path(monkeypatch: pytest.MonkeyPatch) -> None:
    line = refusal_of(monkeypatch, PAGE_PASSWORD_FILE="")

    assert line == "RECONCILER_PAGE_PASSWORD_FILE: must not be empty (it is '')"


def test_a_password_file_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("password").write_text(f"{SECRET}\n")
    password = load(monkeypatch, PAGE_PASSWORD_FILE="password").password()

    assert password is not None
    assert password() == SECRET
    Path("password").write_text("another\n")
    assert password() == "another"
    Path("password").write_text("\n")
    with pytest.raises(ConfigurationError, match=r"^RECONCILER_PAGE_PASSWORD_FILE: .* is empty$"):
        password()


@pytest.mark.parametrize("name", ["PAGE_PASSWORD", "PAGE_PASSWORD_FILE"])
def test_an_open_page_with_a_password(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    line = refusal_of(monkeypatch, PAGE="open", **{name: "a-password"})

    assert line.startswith(f"RECONCILER_{name}: is not asked for with RECONCILER_PAGE=open")


def test_a_password_and_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    line = refusal_of(monkeypatch, PAGE_PASSWORD=SECRET, PAGE_PASSWORD_FILE="password")

    assert line.startswith("RECONCILER_PAGE_PASSWORD_FILE: excludes RECONCILER_PAGE_PASSWORD")


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("https://cloud.temporal.io", "https://cloud.temporal.io"),
        ("http://[::1]:8233/", "http://[::1]:8233"),
        ("https://example.com/temporal/", "https://example.com/temporal"),
    ],
)
def test_temporals_ui(monkeypatch: pytest.MonkeyPatch, value: str, url: str) -> None:
    assert load(monkeypatch, TEMPORAL_UI=value).temporal_ui == url


@pytest.mark.parametrize(
    "value",
    [
        "",
        "temporal.example.com:8233",
        "javascript:alert(1)",
        "ftp://example.com",
        "https://",
        "http://h:99999",
        "http://h/?a=b",
        "http://h/#a",
        "http://h/a b",
        f"https://user:{SECRET}@example.com",
    ],
)
def test_another_address_of_temporals_ui(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert refusal_of(monkeypatch, TEMPORAL_UI=value).startswith("RECONCILER_TEMPORAL_UI: ")
