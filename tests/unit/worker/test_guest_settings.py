"""In a worker, names with the prefix RECONCILER_ may belong to the application."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from reconciler.core.errors import ConfigurationError
from reconciler.settings import load
from reconciler.settings.table import TableSettings


@pytest.fixture(autouse=True)
def nothing_logged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(load, "_logged", set())


def test_an_unknown_name_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RECONCILER_LEDGER_CURRENCY", "EUR")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            load.load_guest_settings(TableSettings)

    assert caplog.messages == [
        "RECONCILER_LEDGER_CURRENCY (environment): there is no such setting, so it is ignored"
    ]
    with pytest.raises(ConfigurationError, match="RECONCILER_LEDGER_CURRENCY"):
        load.load_settings(TableSettings)


@pytest.mark.parametrize(
    "name", ["RECONCILER_TABEL", "RECONCILER_REDCAT", "RECONCILER_COLUMNS__RUNID"]
)
def test_a_typo_is_rejected(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")

    with pytest.raises(ConfigurationError, match=f"{name}.*did you mean"):
        load.load_guest_settings(TableSettings)


def test_settings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_TABLE", "jobs")

    assert load.load_guest_settings(TableSettings).table == "jobs"
