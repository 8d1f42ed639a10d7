"""The manifests are valid and complete, and match what the commands promise.

The tag and the ConfigMap, which kustomize adds, are read from its files, so no test needs kubectl.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import kubernetes_validate
import pytest
import yaml

from reconciler import __version__
from reconciler.cli.main import cli
from reconciler.daemon.health import CHECK_TIMEOUT
from reconciler.host.service import STOP_TIMEOUT
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from reconciler.settings.temporal import temporal_environment
from reconciler.temporal.config.load import load_config

Manifest: TypeAlias = dict[str, Any]

REPOSITORY = Path(__file__).parents[3]
ROOT = REPOSITORY / "deploy" / "kubernetes"
KUSTOMIZATIONS = sorted(ROOT.rglob("kustomization.yaml"))
WORKLOADS = {
    "run": "deployment.yaml",
    "worker": "deployment.yaml",
    "once": "cronjob.yaml",
    "migrate": "job.yaml",
}
MANIFESTS = sorted(set(ROOT.rglob("*.yaml")) - set(KUSTOMIZATIONS))
#: The oldest release that knows every field, and the newest that the validator knows.
VERSIONS = ("1.27", "1.37")


def read(path: Path) -> Manifest:
    # kubectl 1.21 fails on a comment with anything else in it.
    manifest: Manifest = yaml.safe_load(path.read_text(encoding="ascii"))
    return manifest


def workload(name: str) -> Manifest:
    return read(ROOT / name / WORKLOADS[name])


def template(name: str) -> Manifest:
    """The pod template."""
    spec = workload(name)["spec"]
    found: Manifest = (spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec)["template"]
    return found


def container(name: str) -> Manifest:
    [only] = template(name)["spec"]["containers"]
    assert "initContainers" not in template(name)["spec"]
    found: Manifest = only
    return found


def shared() -> Manifest:
    """The component with the image and the settings of all three."""
    return read(ROOT / "settings" / "kustomization.yaml")


def environment(name: str) -> Iterator[tuple[str, str]]:
    """The variables of the process, except secrets; later ones override earlier ones."""
    for source in container(name)["envFrom"]:
        for config in shared()["configMapGenerator"]:
            if source.get("configMapRef", {}).get("name") == config["name"]:
                yield from (literal.split("=", 1) for literal in config["literals"])
    yield from ((given["name"], given["value"]) for given in container(name).get("env", []))


def test_every_file_is_used_and_every_used_file_exists() -> None:
    used = {
        (path.parent / name).resolve()
        for path in KUSTOMIZATIONS
        for name in read(path).get("resources", [])
    }

    assert used == set(MANIFESTS)
    assert {path for path in ROOT.rglob("*") if path.is_file()} == {*used, *KUSTOMIZATIONS}
    assert {path.parent.name for path in KUSTOMIZATIONS} == {"settings", *WORKLOADS}


@pytest.mark.parametrize("name", WORKLOADS)
def test_there_is_one_place_to_edit(name: str) -> None:
    kustomization = read(ROOT / name / "kustomization.yaml")

    assert (kustomization["apiVersion"], kustomization["kind"]) == (
        "kustomize.config.k8s.io/v1beta1",
        "Kustomization",
    )
    assert set(kustomization) == {"apiVersion", "kind", "resources", "components"}
    assert kustomization["components"] == ["../settings"]
    assert (shared()["apiVersion"], shared()["kind"]) == (
        "kustomize.config.k8s.io/v1alpha1",
        "Component",
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_is_valid(path: Path, version: str) -> None:
    assert kubernetes_validate.validate(read(path), version, strict=True) == version


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_image_has_this_version(name: str) -> None:
    [image] = shared()["images"]

    assert container(name)["image"] == image["name"]
    assert image["newTag"] == __version__


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_container_runs_the_command_it_is_named_for(name: str) -> None:
    command = container(name)["args"][0]

    assert command == name
    assert command in {
        c.name or getattr(c.callback, "__name__", "") for c in cli.registered_commands
    }
    assert "command" not in container(name)  # the image's entry point


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_setting_exists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in os.environ:
        if variable.startswith(("RECONCILER_", "TEMPORAL_")):
            monkeypatch.delenv(variable)
    given = dict(environment(name))
    for variable, value in {**given, "DATABASE_URL": "postgresql://app@db/app"}.items():
        monkeypatch.setenv(variable, value)

    load_settings(Settings)
    temporal = load_config(temporal_environment())

    assert temporal["target_host"] == given.pop("TEMPORAL_ADDRESS")
    assert temporal["namespace"] == given.pop("TEMPORAL_NAMESPACE")
    assert all(variable.startswith("RECONCILER_") for variable in given)


def test_the_loop_listens_where_it_is_probed_and_scraped() -> None:
    # Set on the container itself, so that the ConfigMap cannot override it.
    given = {variable["name"]: variable["value"] for variable in container("run")["env"]}
    [port] = container("run")["ports"]
    probes = {kind: container("run")[f"{kind}Probe"] for kind in ("liveness", "readiness")}

    assert given["RECONCILER_HTTP_HOST"] == "0.0.0.0"
    assert given["RECONCILER_HTTP_PORT"] == str(port["containerPort"])
    assert probes["liveness"]["httpGet"] == {"path": "/livez", "port": port["name"]}
    assert probes["readiness"]["httpGet"] == {"path": "/readyz", "port": port["name"]}
    assert all(probe["timeoutSeconds"] > CHECK_TIMEOUT for probe in probes.values())
    assert template("run")["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(port["containerPort"]),
        "prometheus.io/path": "/metrics",
    }


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_pod_has_only_the_rights_that_it_needs(name: str) -> None:
    pod = template(name)["spec"]

    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container(name)["resources"] == {
        "requests": {"cpu": "250m" if name == "worker" else "50m", "memory": "128Mi"},
        "limits": {"memory": "256Mi"},
    }


@pytest.mark.parametrize("name", WORKLOADS)
def test_secrets_are_referenced_and_not_contained(name: str) -> None:
    secrets = [ref["secretRef"]["name"] for ref in container(name)["envFrom"] if "secretRef" in ref]
    guide = (REPOSITORY / "docs" / "deployment.md").read_text(encoding="utf-8")

    assert secrets == ["reconciler-migrate" if name == "migrate" else "reconciler"]
    assert f"kubectl create secret generic {secrets[0]} " in guide
    assert not any("secretGenerator" in read(path) for path in KUSTOMIZATIONS)
    assert all(read(path)["kind"] != "Secret" for path in MANIFESTS)
    assert not {"DATABASE_URL", "TEMPORAL_API_KEY"} & dict(environment(name)).keys()


@pytest.mark.parametrize("name", ["run", "once", "worker"])
def test_a_pod_has_enough_time_to_stop(name: str) -> None:
    assert template(name)["spec"]["terminationGracePeriodSeconds"] >= 2 * STOP_TIMEOUT


def test_a_rollout_or_a_drain_leaves_a_replica() -> None:
    spec = workload("run")["spec"]
    budget = read(ROOT / "run" / "poddisruptionbudget.yaml")["spec"]
    labels = template("run")["metadata"]["labels"]
    [spread] = template("run")["spec"]["topologySpreadConstraints"]

    assert spec["replicas"] == 2
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    # No pod is ready while Temporal is unreachable, and nodes must still be drainable.
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    for selector in (spec["selector"], budget["selector"], spread["labelSelector"]):
        assert selector == {"matchLabels": labels}


def test_the_selectors_of_the_loop_do_not_match_the_pods_of_jobs() -> None:
    labels = [template(name)["metadata"]["labels"] for name in WORKLOADS]

    assert all(labels.count(one) == 1 for one in labels)


def test_passes_by_cron_neither_overlap_nor_pile_up() -> None:
    spec = workload("once")["spec"]
    job = spec["jobTemplate"]["spec"]

    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["startingDeadlineSeconds"] >= 10  # if it is less, Kubernetes may never start a job
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (1, 3)
    assert (job["backoffLimit"], job["template"]["spec"]["restartPolicy"]) == (0, "Never")
    assert job["activeDeadlineSeconds"] > 0


def test_a_migration_is_retried_and_has_no_deadline() -> None:
    spec = workload("migrate")["spec"]

    assert spec["backoffLimit"] > 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert "activeDeadlineSeconds" not in spec


def test_the_password_of_the_page_only_has_to_be_uncommented() -> None:
    text = (ROOT / "run" / "deployment.yaml").read_text(encoding="ascii")
    with_password = re.sub(
        r"^( +)# ((?:- name: RECONCILER_PAGE|  ).*)$", r"\1\2", text, flags=re.MULTILINE
    )
    [only] = yaml.safe_load(with_password)["spec"]["template"]["spec"]["containers"]

    assert container("run")["env"] == only["env"][:-1]
    assert only["env"][-1] == {
        "name": "RECONCILER_PAGE_PASSWORD",
        "valueFrom": {"secretKeyRef": {"name": "reconciler-page", "key": "password"}},
    }
    assert "kubectl create secret generic reconciler-page --from-literal=password=" in text
