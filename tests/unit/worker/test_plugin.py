"""Invalid values are errors where the plugin is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from reconciler.core.errors import ConfigurationError
from reconciler.settings import Settings
from reconciler.worker import ReconcilerPlugin
from tests.support.temporal.workflows import Scripted

SETTINGS_TYPE = "settings= takes Settings or TableSettings, or a mapping of names of targets to"
TARGETS_TYPE = "targets= takes the name of a target, or a mapping of workflow types by name to"


class Other:
    """An AsyncEngine for another database, whose driver the tests do not have."""

    sync_engine = sa.create_engine("sqlite://")


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_URL", ""),
        ("DATABASE_URL_FILE", "not-there"),
        ("RECONCILER_TABLE", "a.b.c"),
        ("RECONCILER_COLUMNS__ID", ""),
        ("RECONCILER_STATUSES__COMPLETED", "running"),
        ("RECONCILER_ERROR_MESSAGE_LIMIT", "many"),
        ("RECONCILER_WHERE", "tenant"),
        ("RECONCILER_REDACT", "["),
        ("RECONCILER_IGNORE", "RECONCILER_TABLE"),
    ],
)
def test_an_invalid_setting(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=name):
        ReconcilerPlugin()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "postgresql://db"}, "engine= takes SQLAlchemy's AsyncEngine or a function"),
        ({"engine": sa.create_engine("sqlite://")}, "engine= takes SQLAlchemy's AsyncEngine"),
        ({"engine": Other()}, "engine= takes an engine for PostgreSQL, not for sqlite"),
        ({"only": "Order"}, "only= takes a collection of workflow types"),
        ({"handlers": "no"}, "handlers= takes True or False, not 'no'"),
        ({"children": None}, "children= takes True or False, not None"),
        ({"task_queue": ""}, "task_queue= takes the name of a task queue, not ''"),
        ({"task_queue": 1}, "task_queue= takes the name of a task queue, not 1"),
        ({"engine": {"orders": None}}, "or a mapping of names of targets to them, not NoneType"),
        ({"targets": ["orders"]}, TARGETS_TYPE),
        ({"targets": {Scripted: "orders"}}, TARGETS_TYPE),
        ({"targets": {"Scripted": None}}, TARGETS_TYPE),
        ({"targets": ""}, "targets= takes the name of a target, not ''"),
        ({"settings": {"table": "orders"}}, SETTINGS_TYPE),
        ({"settings": "orders"}, SETTINGS_TYPE),
        ({"settings": Settings}, SETTINGS_TYPE),
    ],
)
def test_an_argument_of_the_wrong_type(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        ReconcilerPlugin(**options)


def test_no_url_is_needed_to_make_it() -> None:
    ReconcilerPlugin()
