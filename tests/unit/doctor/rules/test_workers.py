"""Which workers lack the plugin, in words."""

from __future__ import annotations

import pytest

from reconciler.doctor.findings import Level
from reconciler.doctor.rules.workers import PLUGIN, workers
from reconciler.temporal.observe.workers import WorkflowWorker
from reconciler.worker.plugin import ReconcilerPlugin


def worker(name: str = "7@web-1", *plugins: str, sdk: str = "temporal-python") -> WorkflowWorker:
    return WorkflowWorker("orders", name, "web-1", sdk, "1.35.0", frozenset(plugins))


def test_the_plugin_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/app")

    assert ReconcilerPlugin().name() == PLUGIN


def test_nothing_is_said_without_workers_that_could_have_it() -> None:
    assert workers([]) == []
    assert workers([worker(sdk="temporal-go")]) == []


def test_a_deployment_that_is_half_done_is_a_warning() -> None:
    found = [worker("7@web-1"), worker("8@web-2", PLUGIN), worker(sdk="temporal-go")]

    [finding] = workers(found)

    assert finding.level is Level.WARNING
    assert "on 1 of 2 workers" in finding.message
    assert "7@web-1 (queue orders, SDK 1.35.0)" in finding.message
    assert "web-2" not in finding.message


def test_all_or_none_is_ok() -> None:
    [every] = workers([worker("1@a", PLUGIN, "other"), worker("2@a", PLUGIN)])
    [none] = workers([worker(f"pod-{number}") for number in range(7)])

    assert (every.level, none.level) == (Level.OK, Level.OK)
    assert every.message == "ReconcilerPlugin is on 2 workers of the last rows' task queues"
    assert "pod-0 on web-1 (queue orders, SDK 1.35.0), pod-1" in none.message
    assert none.message.endswith("…")
