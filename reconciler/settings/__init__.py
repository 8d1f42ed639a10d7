"""What an operator can set, how it is read, and how it is shown.

Only `app` and the packages above it know settings; the rest get plain values. Applications that
make their own, for `ReconcilerPlugin(settings=…)`, import from here. It loads pydantic and
SQLAlchemy when it is first used, not before.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.settings.model import Settings
    from reconciler.settings.statuses import Statuses
    from reconciler.settings.table import Columns, TableSettings

__all__ = ["Columns", "Settings", "Statuses", "TableSettings"]

_MODULES = {
    "Columns": "table",
    "Settings": "model",
    "Statuses": "statuses",
    "TableSettings": "table",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
