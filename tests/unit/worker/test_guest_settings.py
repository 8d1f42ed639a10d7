"""In a worker, names with the prefix RECONCILER_ may belong to the application."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.errors import ConfigurationError
from reconciler.settings.load import load_guest_settings, load_settings
from reconciler.settings.model import DatabaseSettings
from reconciler.settings.table import TableSettings


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("RECONCILER_LEDGER_CURRENCY", "if another program needs it, list it in RECONCILER_IGNORE"),
        ("RECONCILER_TABEL", "did you mean RECONCILER_TABLE?"),
        ("RECONCILER_COLUMNS__RUNID", "did you mean RECONCILER_COLUMNS__RUN_ID?"),
    ],
)
def test_an_unknown_variable_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    monkeypatch.setenv(name, "x")

    guest = load_guest_settings(connects=False)

    assert guest.warnings == (f"ignoring {name} (environment): there is no such setting, {hint}",)
    with pytest.raises(ConfigurationError, match=name):
        load_settings(TableSettings)


def test_an_unknown_key_of_our_own_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "reconciler.toml").write_text("tabel = 'jobs'")

    with pytest.raises(ConfigurationError, match="unknown key tabel, did you mean table"):
        load_guest_settings(connects=False)


def test_an_ignored_name_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_LEDGER_CURRENCY", "EUR")
    monkeypatch.setenv("RECONCILER_IGNORE", "RECONCILER_LEDGER_CURRENCY")

    assert load_guest_settings(connects=False).warnings == ()


def test_settings_are_read_and_the_url_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_TABLE", "jobs")

    settings = load_guest_settings(connects=True).settings

    assert settings.table == "jobs"
    assert not isinstance(settings, DatabaseSettings)


def test_the_url_counts_only_if_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://db")

    load_guest_settings(connects=False)
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        load_guest_settings(connects=True)
