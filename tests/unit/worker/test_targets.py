"""Which target a workflow's rows are in, and what is an error where plugin or worker are made."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio import workflow
from temporalio.client import ClientConfig
from temporalio.common import RawValue
from temporalio.converter import DataConverter
from temporalio.worker import WorkerConfig

from reconciler.core.errors import ConfigurationError
from reconciler.postgres.connection.engine import open_engine
from reconciler.settings import TableSettings
from reconciler.worker import ReconcilerPlugin, report_outcome, status_activity
from reconciler.worker.interceptor import MainPathInterceptor
from tests.support.temporal.workflows import Scripted, Typed
from tests.support.worker.workflows import Decorated, Export

FILE = """
[targets.orders]
database_url = "postgresql://db/orders"

[targets.exports]
database_url = "postgresql://db/exports"
"""
ENGINE = open_engine("postgresql://db/app")
BOTH = {"Scripted": "orders", "Typed": "exports"}
NAME_IT = "name it in ReconcilerPlugin(targets=…) or @report_outcome(target=…)"
HAS = "reconciler.toml has orders, exports"
HAS_ONLY = "reconciler.toml has only orders, exports"

# The SDK compares this type with its own, which is one of `typing` in older versions.
Arguments = vars(sys.modules[workflow._Definition.__module__])["Sequence"][RawValue]


@workflow.defn(dynamic=True)
class Dynamic:
    @workflow.run
    async def run(self, args: Arguments) -> None: ...  # type: ignore[valid-type]


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> None:
    """A reconciler.toml with two targets."""
    (tmp_path / "reconciler.toml").write_text(FILE)


def worker(plugin: ReconcilerPlugin, *workflows: type, **options: Any) -> MainPathInterceptor:
    """The interceptor of a worker with this plugin."""
    client = SimpleNamespace(data_converter=DataConverter.default)
    given = {"client": client, "workflows": workflows, "activities": [print], **options}
    config = plugin.configure_worker(cast("WorkerConfig", given))
    (found,) = config.get("interceptors") or ()
    assert isinstance(found, MainPathInterceptor)
    return found


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"targets": "refunds"},
            ("targets= names the target 'refunds', and reconciler.toml has only orders, exports"),
        ),
        ({"targets": {}}, "targets= is empty: name workflow types, or remove it"),
        (
            {"targets": BOTH, "only": ["Typed"]},
            (
                "targets= names Scripted, which only= leaves out: add it to only=, or remove it "
                "from targets="
            ),
        ),
        (
            {"engine": {"orders": ENGINE}},
            "engine= has no engine for target 'exports': add it",
        ),
        (
            {"engine": {"orders": ENGINE, "refunds": ENGINE}, "targets": "orders"},
            ("engine= names the target 'refunds', and reconciler.toml has only orders, exports"),
        ),
        (
            {"settings": {"orders": TableSettings()}, "targets": "exports"},
            "targets= names the target 'exports', and settings= has only orders",
        ),
        (
            {"settings": TableSettings(), "targets": "orders"},
            "targets= names the target 'orders', and settings= has no targets",
        ),
        (
            {"settings": {"Orders": TableSettings()}},
            (
                "settings=: 'Orders' cannot be the name of a target: use lower-case letters, "
                "digits, - and _, at most 63, and first a letter or a digit"
            ),
        ),
        ({"settings": {}}, "settings= is empty: pass the settings of a target"),
    ],
)
def test_what_makes_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        ReconcilerPlugin(**options)

    assert str(raised.value) == message


@pytest.mark.parametrize("target", ["", 1])
def test_a_decorator_takes_a_name(target: Any) -> None:
    with pytest.raises(TypeError, match="target= takes the name of a target, not"):
        report_outcome(target=target)


def test_the_activity_checks_what_it_is_given() -> None:
    with pytest.raises(TypeError, match="settings= takes Settings or TableSettings"):
        status_activity(settings="orders")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="engine= names the target 'orders'"):
        status_activity({"orders": ENGINE})


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize(
    ("options", "workflows", "message"),
    [
        (
            {},
            [Scripted, Export, Typed],
            f"nothing says which target the rows of Scripted, Typed are in, and {HAS}: {NAME_IT}",
        ),
        (
            {"targets": {"Scripted": "orders"}},
            [Scripted, Decorated],
            f"nothing says which target the rows of Decorated are in, and {HAS}: {NAME_IT}",
        ),
        (
            {},
            [Dynamic],
            (
                "nothing says which target the rows of a dynamic workflow are in, and "
                f"{HAS}: {NAME_IT}"
            ),
        ),
        (
            {"settings": {"orders": TableSettings()}, "engine": ENGINE},
            [Export],
            "the rows of Export are in target 'exports', and settings= has only orders",
        ),
        (
            {"targets": {**BOTH, "Typo": "orders"}},
            [Scripted, Typed],
            (
                "targets= names Typo, which this worker does not have: name some of its workflow "
                "types: Scripted, Typed"
            ),
        ),
        (
            {"targets": {"Scripted": "orders"}, "after_close": ["Typed"]},
            [Scripted, Typed],
            (
                "targets= does not name Typed, which only= or after_close= does: name it, or "
                "remove it from there"
            ),
        ),
        (
            {"settings": {"orders": TableSettings()}},
            [Scripted],
            (
                "settings= has no database_url for target orders: pass Settings with one, or pass "
                "the application's engine: ReconcilerPlugin(engine)"
            ),
        ),
    ],
)
def test_what_a_worker_needs(options: dict[str, Any], workflows: list[type], message: str) -> None:
    plugin = ReconcilerPlugin(**options)

    with pytest.raises(ConfigurationError) as raised:
        worker(plugin, *workflows)

    assert str(raised.value) == message


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize(
    ("options", "workflows", "targets"),
    [
        ({"targets": BOTH}, [Scripted, Typed], ["orders", "exports"]),
        ({"targets": BOTH}, [Dynamic], ["orders", "exports"]),
        ({"targets": BOTH}, [], ["orders", "exports"]),
        ({"targets": {"Scripted": "orders"}}, [Scripted, Typed], ["orders"]),
        ({"targets": "orders"}, [Scripted, Export], ["orders", "exports"]),
        ({}, [Export], ["exports"]),
        ({"skip": ["Scripted"]}, [Export, Scripted], ["exports"]),
        ({"only": []}, [Scripted], ["orders", "exports"]),
        (
            {"targets": BOTH, "task_queue": "db", "after_close": ["Typed"]},
            [Scripted, Typed],
            ["exports"],
        ),
    ],
)
def test_a_worker_has_the_tables_of_its_workflows(
    options: dict[str, Any], workflows: list[type], targets: list[str]
) -> None:
    assert worker(ReconcilerPlugin(**options), *workflows).serves == targets


@pytest.mark.usefixtures("file")
def test_on_a_client_it_may_name_types_of_other_workers() -> None:
    plugin = ReconcilerPlugin(targets=BOTH)
    plugin.configure_client(cast("ClientConfig", {}))

    assert worker(plugin, Scripted).serves == ["orders"]


def test_a_worker_that_leaves_the_writes_to_another_need_not_know_targets() -> None:
    worker(ReconcilerPlugin(targets=BOTH, task_queue="db"), Scripted, Typed)


def test_a_worker_needs_nothing_of_targets_that_it_does_not_use(tmp_path: Path) -> None:
    (tmp_path / "reconciler.toml").write_text(
        "[targets.orders]\n[targets.exports]\ndatabase_url_file = 'not-there'"
    )
    worker(ReconcilerPlugin({"orders": ENGINE}, targets="orders"), Scripted)

    with pytest.raises(ConfigurationError) as raised:
        worker(ReconcilerPlugin(targets="orders"), Scripted)
    assert str(raised.value) == (
        "DATABASE_URL is not set for target orders: set it, or pass the application's engine: "
        "ReconcilerPlugin(engine)"
    )


def test_a_single_target_needs_no_name(tmp_path: Path) -> None:
    (tmp_path / "reconciler.toml").write_text(FILE.split("\n\n", maxsplit=1)[0])

    assert worker(ReconcilerPlugin(), Scripted).serves == [""]
