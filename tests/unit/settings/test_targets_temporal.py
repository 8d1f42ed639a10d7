"""Temporal's settings of a target, as keys of `reconciler.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.settings.targets import load_targets
from reconciler.temporal.config.load import load_config


def environment(text: str) -> Mapping[str, str]:
    """The variables of the one target in this file."""
    Path("reconciler.toml").write_text(text)
    (settings,) = load_targets()
    return settings.temporal_environment()


def test_keys_at_the_top_are_defaults_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    top = "temporal_address = 'top:1'\ntemporal_namespace = 'top'\ntemporal_tls = true\n"
    Path(".env").write_text("TEMPORAL_NAMESPACE=dotenv\nTEMPORAL_PROFILE=dotenv")
    monkeypatch.setenv("TEMPORAL_PROFILE", "environment")
    outside = {
        "TEMPORAL_ADDRESS": "top:1",
        "TEMPORAL_NAMESPACE": "dotenv",
        "TEMPORAL_PROFILE": "environment",
        "TEMPORAL_TLS": "true",
    }

    assert environment(top) == outside
    assert environment(
        f"{top}[targets.a]\ntemporal_namespace = 'own'\ntemporal_grpc_meta_x_tenant = 'a'"
    ) == {**outside, "TEMPORAL_NAMESPACE": "own", "TEMPORAL_GRPC_META_X_TENANT": "a"}


def test_a_target_with_a_profile_takes_nothing_from_outside_that_a_profile_may_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ADDRESS", "NAMESPACE", "API_KEY", "GRPC_META_X", "TLS_CLIENT_CERT_DATA"):
        monkeypatch.setenv(f"TEMPORAL_{name}", "outside")
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", "clusters.toml")

    assert environment(
        "temporal_tls = true\n[targets.a]\ntemporal_profile = 'eu'\ntemporal_namespace = 'own'"
    ) == {
        "TEMPORAL_CONFIG_FILE": "clusters.toml",
        "TEMPORAL_PROFILE": "eu",
        "TEMPORAL_NAMESPACE": "own",
    }


@pytest.mark.parametrize(
    ("outside", "own"),
    [
        ("API_KEY", "API_KEY_FILE"),
        ("API_KEY_FILE", "API_KEY"),
        ("TLS_CLIENT_KEY_DATA", "TLS_CLIENT_KEY_PATH"),
        ("TLS_CLIENT_CERT_PATH", "TLS_CLIENT_CERT_DATA"),
        ("TLS_SERVER_CA_CERT_DATA", "TLS_SERVER_CA_CERT_PATH"),
    ],
)
def test_a_secret_replaces_a_file_with_it_and_the_other_way_round(
    monkeypatch: pytest.MonkeyPatch, outside: str, own: str
) -> None:
    monkeypatch.setenv(f"TEMPORAL_{outside}", "outside")

    found = environment(f"[targets.a]\ntemporal_{own.lower()} = 'own'")

    assert found == {f"TEMPORAL_{own}": "own"}


def test_each_target_reads_its_own_key_again() -> None:
    Path("a.key").write_text("key-a")
    Path("b.key").write_text("key-b")
    Path("reconciler.toml").write_text(
        "temporal_address = 't:1'\n"
        "[targets.a]\ntable = 'a'\ntemporal_api_key_file = 'a.key'\n"
        "[targets.b]\ntable = 'b'\ntemporal_api_key_file = 'b.key'\n"
    )
    a, b = (load_config(each.temporal_environment())["key_file"] for each in load_targets())

    Path("b.key").write_text("key-b-rotated")

    assert [each.current(force=True) for each in (a, b)] == ["key-a", "key-b-rotated"]
