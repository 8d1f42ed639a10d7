"""The settings as they were resolved: what, from where, and never a secret."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.settings.load import load_settings, temporal_environment
from reconciler.settings.model import Settings
from reconciler.settings.resolved import (
    ResolvedSetting,
    resolved_settings,
    resolved_temporal,
    shown_database_url,
    shown_duration,
)
from reconciler.temporal.config import load_config


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but the test's own."""
    for name in os.environ:
        if name.upper().startswith(("RECONCILER_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", "postgresql://app:s3cret@db:5432/app")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def resolved() -> dict[str, tuple[str, str]]:
    return _by_name(resolved_settings(load_settings(Settings)))


def temporal() -> dict[str, tuple[str, str]]:
    environment = temporal_environment()
    return _by_name(resolved_temporal(load_config(environment), environment))


def _by_name(settings: list[ResolvedSetting]) -> dict[str, tuple[str, str]]:
    return {setting.name: (setting.value, setting.source) for setting in settings}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://app:s3cret@db:5432/app", "app@db:5432/app"),
        ("postgresql://db/app", "db/app"),
        (
            "postgresql://app:s3%40ret@a:1,b:2/app?sslmode=require",
            "app@a:1,b:2/app?sslmode=require",
        ),
        ("postgresql:///app?host=/run/pg&user=app", "/app?host=/run/pg&user=app"),
        ("postgresql://db/app?password=s3cret", "db/app?password=(hidden)"),
        ("postgresql://db/app?sslpassword=s3cret", "db/app?sslpassword=(hidden)"),
        ("postgresql://db/app?options=-c%20x.key%3Ds3cret", "db/app?options=(hidden)"),
        ("postgresql://app:s3cret@[::1]:5432/app", "app@[::1]:5432/app"),
    ],
)
def test_a_database_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert shown_database_url(url) == shown


def test_database_and_table_are_shown_whatever_they_are() -> None:
    assert resolved() == {
        "RECONCILER_TABLE": ("workflow_executions", "default"),
        "DATABASE_URL": ("app@db:5432/app", "environment"),
    }


def test_what_differs_from_the_default_is_shown_with_its_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("reconciler.toml").write_text(
        "grace = '90s'\nmissing = 'fail'\n[columns]\nid = 'key'\n[statuses]\nfailed = 'broken'\n"
    )
    Path(".env").write_text("RECONCILER_GRACE=2h\nreconciler_table=app.jobs\nRECONCILER_MAX_RPS=7")
    monkeypatch.setenv("RECONCILER_MAX_RPS", "9")
    monkeypatch.setenv("RECONCILER_BATCH_SIZE", "500")

    assert resolved() == {
        "DATABASE_URL": ("app@db:5432/app", "environment"),
        "RECONCILER_TABLE": ("app.jobs", ".env"),
        "RECONCILER_GRACE": ("2h", ".env"),
        "RECONCILER_MAX_RPS": ("9", "environment"),
        "RECONCILER_MISSING": ("fail", "reconciler.toml"),
        "RECONCILER_COLUMNS__ID": ("key", "reconciler.toml"),
        "RECONCILER_STATUSES__FAILED": ("broken", "reconciler.toml"),
    }


def test_temporals_settings_are_shown_with_their_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal:7233")
    assert temporal() == {
        "TEMPORAL_ADDRESS": ("temporal:7233", "environment"),
        "TEMPORAL_NAMESPACE": ("default", "default"),
    }

    Path(".env").write_text("TEMPORAL_NAMESPACE=prod\nTEMPORAL_API_KEY=s3cret\n")
    monkeypatch.setenv("TEMPORAL_GRPC_META_X_TOKEN", "s3cret")
    assert temporal() == {
        "TEMPORAL_ADDRESS": ("temporal:7233", "environment"),
        "TEMPORAL_NAMESPACE": ("prod", ".env"),
        "TEMPORAL_TLS": ("on", "TEMPORAL_API_KEY"),
        "TEMPORAL_API_KEY": ("(hidden)", ".env"),
        "TEMPORAL_GRPC_META_X_TOKEN": ("(hidden)", "environment"),
    }


def test_a_profile_of_temporals_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own.toml").write_text("[profile.prod]\naddress = 'cloud:7233'\nnamespace = 'orders'\n")
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", "own.toml")
    monkeypatch.setenv("TEMPORAL_PROFILE", "prod")

    assert temporal() == {
        "TEMPORAL_ADDRESS": ("cloud:7233", "own.toml"),
        "TEMPORAL_NAMESPACE": ("orders", "own.toml"),
        "TEMPORAL_PROFILE": ("prod", "environment"),
    }


@pytest.mark.parametrize(
    ("duration", "shown"),
    [
        (timedelta(0), "0s"),
        (timedelta(milliseconds=500), "0.5s"),
        (timedelta(seconds=90), "90s"),
        (timedelta(minutes=5), "5m"),
        (timedelta(hours=36), "36h"),
        (timedelta(days=90), "90d"),
    ],
)
def test_durations_are_shown_as_they_are_set(duration: timedelta, shown: str) -> None:
    assert shown_duration(duration) == shown
