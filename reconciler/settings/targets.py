"""Targets: several tables, databases or clusters that one process serves, `[targets.NAME]`.

Each may have any setting that is not about the process as a whole. Settings outside of the
sections are defaults for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reconciler.core.errors import ConfigurationError
from reconciler.settings.load import load_target
from reconciler.settings.model import Settings
from reconciler.settings.sources import read_targets


def load_targets(only: str | None = None, **overrides: Any) -> Sequence[Settings]:
    """The settings of each target, in the order of `reconciler.toml`; or of one of them.

    Where there are no targets: the settings, which have no target. `overrides`: see
    `load_settings`. Raises `ConfigurationError`.
    """
    names = read_targets()
    if only is not None and only not in names:
        has = f"it has {', '.join(names)}" if names else "it has no [targets.NAME] section"
        raise ConfigurationError(f"--target {only}: reconciler.toml has no such target", has)
    chosen = [only] if only is not None else names or [""]
    return [load_target(Settings, name, overrides) for name in chosen]
