"""The resolved settings: name, value and source, never a secret."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.settings import sources
from reconciler.settings.display import (
    ResolvedSetting,
    display_database_url,
    display_url,
    resolved_settings,
    resolved_temporal,
)
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from reconciler.settings.targets import load_targets
from reconciler.settings.temporal import temporal_environment, temporal_settings
from reconciler.settings.types import format_duration
from reconciler.temporal.config.load import load_config
from tests.support.network.certificates import Authority
from tests.unit.settings.conftest import SECRET


def resolved() -> dict[str, tuple[str, str]]:
    return _by_name(resolved_settings(load_settings(Settings)))


def temporal() -> dict[str, tuple[str, str]]:
    config = load_config(temporal_environment())
    return _by_name(resolved_temporal(config, temporal_settings()))


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
    assert display_database_url(url) == shown


def test_database_and_table_are_always_shown() -> None:
    assert resolved() == {
        "RECONCILER_TABLE": ("workflow_executions", "default"),
        "DATABASE_URL": ("app@db:5432/app", "environment"),
    }


def test_settings_that_differ_from_the_default_are_shown_with_their_source(
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
        "TEMPORAL_TLS": ("on", ".env"),
        "TEMPORAL_API_KEY": ("(hidden)", ".env"),
        "TEMPORAL_GRPC_META_X_TOKEN": ("(hidden)", "environment"),
    }


def test_tls_is_shown_without_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.issue(common_name="reconciler")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal:7233")
    monkeypatch.setenv("TEMPORAL_API_KEY", SECRET)
    monkeypatch.setenv("TEMPORAL_TLS_SERVER_CA_CERT_PATH", str(authority.root))
    monkeypatch.setenv("TEMPORAL_TLS_CLIENT_CERT_PATH", str(certificate.cert))
    monkeypatch.setenv("TEMPORAL_TLS_CLIENT_KEY_PATH", str(certificate.key))
    monkeypatch.setenv("TEMPORAL_TLS_SERVER_NAME", "temporal.example")

    assert temporal()["TEMPORAL_TLS"] == ("on, with a client certificate", "environment")


def test_an_api_key_in_a_file_is_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET)
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal:7233")
    monkeypatch.setenv("TEMPORAL_API_KEY_FILE", str(tmp_path / "key"))

    found = temporal()

    assert found["TEMPORAL_API_KEY"] == ("(hidden)", "environment")
    assert found["TEMPORAL_TLS"] == ("on", "environment")


def test_the_profile_of_temporal_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_durations_are_shown_as_they_are_written(duration: timedelta, shown: str) -> None:
    assert format_duration(duration) == shown


def test_the_source_of_a_secret_in_a_file_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sources, "SECRETS", (str(tmp_path),))
    (tmp_path / "reconciler_temporal_proxy").write_text(f"http://user:{SECRET}@proxy:3128")
    monkeypatch.delenv("DATABASE_URL")
    Path("url").write_text(f"postgresql://app:{SECRET}@db/app")
    Path("reconciler.toml").write_text("database_url_file = 'url'")

    assert resolved() == {
        "DATABASE_URL": ("app@db/app", "reconciler.toml"),
        "RECONCILER_TABLE": ("workflow_executions", "default"),
        "DATABASE_URL_FILE": ("url", "reconciler.toml"),
        "RECONCILER_TEMPORAL_PROXY": ("http://(hidden)@proxy:3128", str(tmp_path)),
    }


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("http://user:s3cret@proxy:3128", "http://(hidden)@proxy:3128"),
        ("http://s3cret@proxy:3128", "http://(hidden)@proxy:3128"),
        ("https://user:s3cret@codec:8081/a@b/{namespace}", "https://(hidden)@codec:8081/a@b/{namespace}"),
        ("https://[::1]:8081/x", "https://[::1]:8081/x"),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_user_and_password(url: str, shown: str) -> None:
    assert display_url(url) == shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("COLUMNS__RUN_ID", "", "none"),
        ("COLUMNS__NAMESPACE", "space", "space"),
        ("STATUSES__RUNNING", "pending,running", "pending, running"),
        ("WHERE", "tenant=7,8", "tenant = 7, 8"),
        ("JOURNAL", "off", "off"),
        ("DATA_CONVERTER", "app.codec:converter", "app.codec:converter"),
        ("REDACT", '["s3cret", "\\\\d{16}"]', "2 expressions"),
        ("REDACT", "s3cret", "1 expression"),
        ("MAX_MISSING_RATIO", "0.25", "0.25"),
        ("LOG_FORMAT", "json", "json"),
    ],
)
def test_each_type_of_value_is_shown_as_it_is_written(
    name: str, value: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"RECONCILER_{name}", value)

    assert resolved()[f"RECONCILER_{name}"] == (shown, "environment")


def test_the_place_of_a_target_is_its_section() -> None:
    Path("reconciler.toml").write_text(
        "grace = '90s'\ntemporal_namespace = 'all'\n[targets.orders]\ntable = 'orders'\n"
        "temporal_address = 'temporal:7233'\ncolumns.id = 'key'\n"
    )
    (settings,) = load_targets()

    found = _by_name(resolved_settings(settings))
    config = load_config(settings.temporal_environment())
    found |= _by_name(resolved_temporal(config, settings.temporal_settings()))

    section = "reconciler.toml [targets.orders]"
    assert found == {
        "DATABASE_URL": ("app@db:5432/app", "environment"),
        "RECONCILER_TABLE": ("orders", section),
        "RECONCILER_COLUMNS__ID": ("key", section),
        "RECONCILER_GRACE": ("90s", "reconciler.toml"),
        "TEMPORAL_ADDRESS": ("temporal:7233", section),
        "TEMPORAL_NAMESPACE": ("all", "reconciler.toml"),
    }


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "DATABASE_URL": f"postgresql://app:{SECRET}@db/app?sslpassword={SECRET}&options=-c{SECRET}",
        "RECONCILER_TEMPORAL_PROXY": f"http://user:{SECRET}@proxy:3128",
        "RECONCILER_CODEC_ENDPOINT": "http://codec",
        "RECONCILER_CODEC_HEADERS": f"Authorization: Bearer {SECRET}\nX-Key: {SECRET}",
        "RECONCILER_REDACT": SECRET,
        "TEMPORAL_ADDRESS": "temporal:7233",
        "TEMPORAL_API_KEY": SECRET,
        "TEMPORAL_GRPC_META_X_TOKEN": SECRET,
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(Settings)

    found = resolved_settings(settings)
    config = load_config(settings.temporal_environment(), settings.proxy_url)
    found += resolved_temporal(config, settings.temporal_settings())

    assert set(given) - {each.name for each in found} == set()
    assert SECRET not in str(found)
