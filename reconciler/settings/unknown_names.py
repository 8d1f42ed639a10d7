"""Names with our prefix that are not settings: misspelt, or another program's."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

from reconciler.core.errors import ConfigurationError
from reconciler.settings.model import FieldPath, Settings, environment_name, fields, toml_key
from reconciler.settings.sources import CONFIG, ENVIRONMENT, PREFIX, RawSetting
from reconciler.settings.types import parse_ignored

#: Those of our own tests.
_TESTS = f"{PREFIX}TEST_"
# Kubernetes sets these in every container of a namespace with a Service called reconciler, or
# reconciler-something: RECONCILER_SERVICE_HOST, RECONCILER_PORT=tcp://…, RECONCILER_PORT_8080_TCP…
_SERVICE_LINK = re.compile(
    rf"{PREFIX}(\w+_)?(SERVICE_(HOST=|PORT(_\w+)?=)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?=|=\w+://)).*"
)


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
        given, name = self.given, self.given.name.upper()
        if given.is_key and name not in variables():
            name = PREFIX + name.removeprefix(PREFIX).replace(".", "__")
        if part := next((known for known in variables() if known.startswith(f"{name}__")), None):
            example = toml_key(variables()[part]) if given.is_key else part
            return f"{given}: set its parts, such as {example}"
        near = difflib.get_close_matches(name, variables(), n=1, cutoff=0.85)
        if given.is_key:
            hint = f", did you mean {toml_key(variables()[near[0]])}?" if near else ""
            section, _, key = given.name.rpartition(".")
            if section and PREFIX + key.upper() in variables():
                hint = f": {key} goes above the first section, and this one is in [{section}]"
            return f"{given.place}: unknown key {given.name}{hint}"
        hint = "if another program needs it, list it in RECONCILER_IGNORE"
        if near:
            hint = f"did you mean {near[0]}?"
        return f"{given.name} ({given.place}): there is no such setting, {hint}"
