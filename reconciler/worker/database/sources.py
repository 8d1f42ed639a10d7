"""The targets that a worker can write to: from files and the environment, or made in code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from reconciler.core.errors import ConfigurationError
from reconciler.core.text import one_line
from reconciler.settings.load import load_guest_settings
from reconciler.settings.sources import check_target_name, config_file, read_targets
from reconciler.settings.table import TableSettings
from reconciler.worker.database.source import EngineSource, Source
from reconciler.worker.report import ONLY

#: The engine of all targets, or those of each by name.
EngineSources: TypeAlias = EngineSource | Mapping[str, EngineSource]
#: The settings of the only target, or those of each by name.
GivenSettings: TypeAlias = TableSettings | Mapping[str, TableSettings]


class Sources:
    """Where the rows of each target are. The settings of a target are read when it is first used.

    So a worker needs no secret of a target that it does not write to.
    """

    def __init__(
        self, engine: EngineSources | None = None, settings: GivenSettings | None = None
    ) -> None:
        """Raises `TypeError`, or `ConfigurationError` if `engine` names an unknown target."""
        self._engine, self._given = engine, _by_name(settings)
        found = read_targets() if self._given is None else list(self._given)
        #: The name of each target; one that is empty where there are no targets.
        self.names: Sequence[str] = found or [ONLY]
        self._sources: dict[str, Source] = {}
        if isinstance(engine, Mapping):
            for name in engine:
                self.check(name, "engine= names the target")

    @property
    def has_targets(self) -> bool:
        """Whether anything is known about targets here, apart from their names in arguments."""
        return self._given is not None or self.names != [ONLY]

    def of(self, name: str = ONLY, rows: str = "the rows of this workflow") -> Source:
        """The target of this name; `ONLY`: the only one. Raises `ConfigurationError`.

        `rows`: what an error calls them.
        """
        if name == ONLY and len(self.names) == 1:
            name = self.names[0]
        if name == ONLY and name not in self.names:
            raise ConfigurationError(
                f"nothing says which target {rows} are in, and {self._where} has "
                + ", ".join(self.names),
                "name it in ReconcilerPlugin(targets=…) or @report_outcome(target=…)",
            )
        self.check(name, f"{rows} are in target")
        if name not in self._sources:
            self._sources[name] = self._make(name)
        return self._sources[name]

    def check(self, name: str, says: str) -> None:
        """Raise `ConfigurationError`, which begins so, unless there is a target of this name."""
        if name not in self.names:
            has = ", ".join(filter(None, self.names))
            raise ConfigurationError(
                f"{says} {one_line(name, 100)!r}, and {self._where} has "
                + (f"only {has}" if has else "no targets")
            )

    @property
    def _where(self) -> str:
        return config_file() if self._given is None else "settings="

    def _make(self, name: str) -> Source:
        engine = self._engine
        if isinstance(engine, Mapping):
            if name not in engine:
                raise ConfigurationError(f"engine= has no engine for target {name!r}", "add it")
            engine = engine[name]
        if self._given is not None:
            return Source(name, self._given[name], engine, is_given=True)
        guest = load_guest_settings(name, connects=engine is None)
        return Source(name, guest.settings, engine, warnings=guest.warnings)


def _by_name(settings: object) -> Mapping[str, TableSettings] | None:
    """Settings that were made in code, by target. Raises `TypeError`, `ConfigurationError`."""
    if settings is None:
        return None
    if isinstance(settings, TableSettings):
        return {settings.target: settings}
    if not isinstance(settings, Mapping) or not all(
        isinstance(name, str) and isinstance(each, TableSettings) for name, each in settings.items()
    ):
        raise TypeError(
            "settings= takes Settings or TableSettings, or a mapping of names of targets to them"
        )
    if not settings:
        raise ConfigurationError("settings= is empty", "pass the settings of a target")
    for name in settings:
        check_target_name(name, "settings=")
    return dict(settings)
