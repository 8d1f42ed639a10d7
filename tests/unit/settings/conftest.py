"""Settings are loaded from an empty folder, and from no variable but the test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.core.errors import ConfigurationError
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings

SECRET = "s3cret"
URL = f"postgresql://app:{SECRET}@db:5432/app"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.upper().startswith(("RECONCILER_", "TEMPORAL_", "DATABASE_URL")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    """The settings with these variables, without their prefix."""
    for name, value in variables.items():
        monkeypatch.setenv(f"RECONCILER_{name}", value)
    return load_settings(Settings)


def refusal_of(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """The one line that the settings are rejected with if these variables are set."""
    for name, value in variables.items():
        monkeypatch.setenv(f"RECONCILER_{name}", value)
    return refusal()


def refusal() -> str:
    """The one line that the settings are rejected with."""
    with pytest.raises(ConfigurationError) as refused:
        load_settings(Settings)
    text = str(refused.value)
    assert "\n" not in text
    assert SECRET not in text
    return text
