"""Names with our prefix that are not settings: misspelt, or another program's."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache

from reconciler.core.errors import ConfigurationError
from reconciler.settings.model import FieldPath, Settings, environment_name, fields, toml_key
from reconciler.settings.sources import (
    CONFIG,
    ENVIRONMENT,
    PREFIX,
    TARGETS,
    RawSetting,
    config_file,
)
from reconciler.settings.temporal import KEYS as TEMPORAL_KEYS
from reconciler.settings.types import parse_ignored

#: Those of our own tests.
_TESTS = f"{PREFIX}TEST_"
# Kubernetes sets these in every container of a namespace with a Service called reconciler, or
# reconciler-something: RECONCILER_SERVICE_HOST, RECONCILER_PORT=tcp://…, RECONCILER_PORT_8080_TCP…
_SERVICE_LINK = re.compile(
    rf"{PREFIX}(\w+_)?(SERVICE_(HOST=|PORT(_\w+)?=)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?=|=\w+://)).*"
)


#: What those who have not read about targets may try.
_TARGETS = (TARGETS, "target")
#: How alike a name and the one that was probably meant are.
_NEAR = 0.85


@cache
def variables() -> Mapping[str, FieldPath]:
    """The paths of all settings by their variables."""
    return {environment_name(path): path for path, _ in fields(Settings)}


@cache
def keys() -> Mapping[str, FieldPath]:
    """The paths of all settings by their keys of TOML."""
    return {toml_key(path): path for path, _ in fields(Settings)}


def read_ignored(given: RawSetting | None) -> tuple[str, ...]:
    """The names that RECONCILER_IGNORE lists. Raises `ConfigurationError` if one is a setting."""
    if given is None:
        return ()
    try:
        ignored = parse_ignored(given.read())
    except ValueError as error:
        raise ConfigurationError(f"{given}: {error}") from None
    for name in ignored:
        if settings := [each for each in (*variables(), CONFIG) if fnmatchcase(each, name)]:
            problem = f"{given}: {name} would ignore the setting {settings[0]}"
            raise ConfigurationError(problem, "list names of other programs only")
    return ignored


def is_ours(given: RawSetting, ignored: Collection[str]) -> bool:
    """Whether a name that is no setting was meant as one, as far as can be known."""
    if given.is_key:
        return True
    name = given.name.upper()
    if not name.startswith(PREFIX) or name.startswith(_TESTS):
        return False
    if any(fnmatchcase(name, each) for each in ignored):
        return False
    if given.place == ENVIRONMENT:
        return name != CONFIG and not _SERVICE_LINK.fullmatch(f"{name}={given.value}")
    return True


@dataclass(frozen=True, slots=True)
class UnknownName:
    """A name that is no setting."""

    given: RawSetting

    def __str__(self) -> str:
        """What is wrong with it, in one line."""
        return _of_key(self.given) if self.given.is_key else _of_variable(self.given)


def _of_key(given: RawSetting) -> str:
    name = _as_variable(given.name.upper().removeprefix(PREFIX))
    known = _key_names()
    if part := next((key for each, key in known.items() if each.startswith(f"{name}__")), None):
        return f"{given}: set its parts, such as {replace(given, name=part).key}"
    section, _, key = given.name.rpartition(".")
    hint = ""
    if not given.target and (section or key).lower() in _TARGETS:
        hint = f": targets are sections such as [{TARGETS}.orders]"
    elif section and _as_variable(key) in known:
        hint = f": {key} goes above the first section, and this one is in [{section}]"
        if given.target:
            inside = f"{TARGETS}.{given.target}"
            hint = f": {key} goes into [{inside}], and this is in [{inside}.{section}]"
    elif near := difflib.get_close_matches(name, known, n=1, cutoff=_NEAR):
        hint = f", did you mean {known[near[0]]}?"
    return f"{given.place}: unknown key {given.key}{hint}"


def _of_variable(given: RawSetting) -> str:
    name = given.name.upper()
    if part := next((known for known in variables() if known.startswith(f"{name}__")), None):
        return f"{given}: set its parts, such as {part}"
    problem = f"{given.name} ({given.place})"
    if name.removeprefix(PREFIX).lower().partition("__")[0] in _TARGETS:
        where = f"sections of {config_file()}, such as [{TARGETS}.orders]"
        return f"{problem}: there is no such setting, targets are {where}"
    hint = "if another program needs it, list it in RECONCILER_IGNORE"
    if near := difflib.get_close_matches(name, variables(), n=1, cutoff=_NEAR):
        hint = f"did you mean {near[0]}?"
    return f"{problem}: there is no such setting, {hint}"


def _as_variable(key: str) -> str:
    return PREFIX + key.upper().replace(".", "__")


@cache
def _key_names() -> Mapping[str, str]:
    """The keys of TOML, also those of Temporal, each by its name as one of our variables."""
    return {_as_variable(key): key for key in (*keys(), *sorted(TEMPORAL_KEYS))}
