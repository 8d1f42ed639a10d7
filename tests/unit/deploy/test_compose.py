"""The compose file, as far as it can be checked without Docker."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from reconciler import __version__
from reconciler.settings.model import Settings, environment_name

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
TEMPORAL_VARIABLES = {"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE"}


def test_every_setting_in_the_compose_file_exists() -> None:
    known = {environment_name((name,)) for name in Settings.model_fields} | TEMPORAL_VARIABLES
    for name, service in COMPOSE["services"].items():
        if str(service.get("image", "")).startswith("reconciler:"):
            assert service["environment"].keys() <= known, name


def test_every_image_of_the_compose_file_is_pinned() -> None:
    images = {name: service["image"] for name, service in COMPOSE["services"].items()}

    assert {image for image in images.values() if image.startswith("reconciler")} == {
        f"reconciler:{__version__}"
    }
    for image in images.values():
        assert re.fullmatch(r"[a-z/]+:v?\d[\w.]*", image), image


def test_compose_publishes_on_loopback_only() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_page_is_open_where_its_port_is_published_on_loopback() -> None:
    loop = COMPOSE["services"]["reconciler"]

    assert loop["environment"]["RECONCILER_PAGE"] == "open"
    assert loop["ports"] == ["127.0.0.1:8080:8080"]
    port = COMPOSE["services"]["temporal"]["ports"][0].split(":")[1]
    assert loop["environment"]["RECONCILER_TEMPORAL_UI"] == f"http://localhost:{port}"


def test_the_loop_waits_for_the_migration_and_for_temporal() -> None:
    assert COMPOSE["services"]["reconciler"]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "temporal": {"condition": "service_healthy"},
    }
    assert COMPOSE["services"]["migrate"]["depends_on"] == {
        "postgres": {"condition": "service_healthy"}
    }


def test_sample_traffic_and_monitoring_are_opt_in() -> None:
    services = COMPOSE["services"].items()
    profiles = {name: service["profiles"] for name, service in services if "profiles" in service}

    assert profiles == {
        "worker": ["example"],
        "traffic": ["example"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
    }


def mounted(service: str) -> dict[str, Any]:
    """The content of each file that is mounted into a container, by its path there."""
    found = {}
    for volume in COMPOSE["services"][service]["volumes"]:
        source, target, access = volume.split(":")
        assert access == "ro"
        found[target] = yaml.safe_load((ROOT / source).read_text())
    return found


def test_prometheus_scrapes_the_loop_and_has_the_alerts() -> None:
    files = mounted("prometheus")
    config = files.pop("/etc/prometheus/prometheus.yml")
    [job] = config["scrape_configs"]

    assert {f"/etc/prometheus/{name}" for name in config["rule_files"]} == files.keys()
    assert job["static_configs"] == [{"targets": ["reconciler:8080"]}]


def test_grafana_shows_the_dashboard_to_anyone_and_lets_nobody_log_in() -> None:
    files, service = mounted("grafana"), COMPOSE["services"]["grafana"]
    provisioning = "/etc/grafana/provisioning"
    [source] = files[f"{provisioning}/datasources/reconciler.yml"]["datasources"]
    [provider] = files[f"{provisioning}/dashboards/reconciler.yml"]["providers"]
    home = service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    assert source["url"] == "http://prometheus:9090"
    assert home == f"{provider['options']['path']}/dashboard.json"
    assert files[home]["title"] == "Temporal reconciler"
    assert service["environment"].items() >= {
        ("GF_AUTH_ANONYMOUS_ENABLED", "true"),
        ("GF_AUTH_ANONYMOUS_ORG_ROLE", "Viewer"),
        ("GF_AUTH_BASIC_ENABLED", "false"),
        ("GF_AUTH_DISABLE_LOGIN_FORM", "true"),
    }
