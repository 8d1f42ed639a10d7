"""Where settings are read from: the environment, `.env`, `reconciler.toml`, mounted secrets.

RECONCILER_CONFIG names another file instead of `reconciler.toml`; that file must exist, the others
may be missing. Each is read once per load. Every other problem is a `ConfigurationError`.
pydantic-settings is not enough: it blocks on a pipe, ignores a secret that is not a regular file,
and does not say where a value comes from.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from reconciler.core.errors import ConfigurationError
from reconciler.host.files import read_file, read_secret
from reconciler.host.streams import decoded, is_text

PREFIX = "RECONCILER_"
CONFIG = f"{PREFIX}CONFIG"
ENVIRONMENT, DOTENV, TOML = "environment", ".env", "reconciler.toml"
#: Where Docker and Kubernetes mount secrets, one file per setting.
SECRETS = ("/run/secrets", "/run/secrets/reconciler")
#: The section of `reconciler.toml` that has a section for each target.
TARGETS = "targets"
_OURS = (PREFIX, "DATABASE_URL", "TEMPORAL_")
_OUR_LINE = re.compile(rf"\s*(export\s+)?['\"]?({'|'.join(_OURS)}|PG[A-Z])", re.IGNORECASE)
#: Part of URLs, labels and names of files.
_TARGET = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# Not an expression such as "[^"]*".
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RawSetting:
    """A setting as the operator wrote it."""

    #: A variable, or a key of TOML such as `columns.id`.
    name: str
    #: "environment", ".env", "reconciler.toml", or the folder of a mounted secret.
    place: str
    #: A `Path` is a file that contains the value.
    value: Any = field(repr=False)
    #: Whether the name is a key of TOML.
    is_key: bool = False
    #: The target in whose section it is; empty: it is for all of them.
    target: str = ""

    def __str__(self) -> str:
        if self.is_key:
            return f"{self.place}: {self.key}"
        return self.name if self.place in (ENVIRONMENT, DOTENV) else f"{self.name} ({self.place})"

    @property
    def key(self) -> str:
        """The whole key of TOML: targets.orders.columns.id."""
        return f"{TARGETS}.{self.target}.{self.name}" if self.target else self.name

    @property
    def source(self) -> str:
        """The place, with the section of the target."""
        return f"{self.place} [{TARGETS}.{self.target}]" if self.target else self.place

    def read(self) -> Any:
        """The value. Raises `ConfigurationError` if it is in a file that cannot be read."""
        value = self.value
        if isinstance(value, Path):
            value = read_secret(str(self), value)
        elif self.place != ENVIRONMENT:  # their formats have quotes
            return value
        check_quotes(str(self), value)
        return value


def check_quotes(setting: str, value: object) -> None:
    """Check that a value is not in quotes, which `docker run --env-file` and Kubernetes keep.

    Raises `ConfigurationError`, without the value.
    """
    if isinstance(value, str) and _QUOTED.fullmatch(value.strip()):
        raise ConfigurationError(
            f"{setting} is in quotes, which are part of the value in an --env-file or a secret",
            "remove them",
        )


def read_settings(target: str = "") -> Iterator[RawSetting]:
    """All settings in order of precedence: of two with the same name, the first counts.

    `target`: with those of its section, which win over all others.
    """
    file = config_file()
    sections = dict(_read_toml(file))
    targets = _targets(file, sections.pop(TARGETS, None))
    if target:
        if target not in targets:
            has = f"it has {', '.join(targets)}" if targets else "it has no [targets.NAME] section"
            raise ConfigurationError(f"target {target}: {file} has no such target", has)
        yield from _keys(file, targets[target], target)
    for name, value in read_environment().items():
        yield RawSetting(name, ENVIRONMENT, value)
    for name, text in read_dotenv().items():
        yield RawSetting(name, DOTENV, text)
    yield from _keys(file, sections)
    for folder in SECRETS:
        yield from (RawSetting(name, folder, Path(folder, name)) for name in _list_secrets(folder))


def read_targets() -> Sequence[str]:
    """The names of the targets in `reconciler.toml`, in its order."""
    file = config_file()
    return list(_targets(file, _read_toml(file).get(TARGETS)))


def config_file() -> str:
    """The name of `reconciler.toml`, or of the file that is read instead."""
    return os.environ.get(CONFIG) or TOML


def check_target_name(name: str, where: str) -> None:
    """Check the name of a target. Raises `ConfigurationError`, which begins with `where`."""
    if not _TARGET.fullmatch(name):
        raise ConfigurationError(
            f"{where}: {name!r} cannot be the name of a target",
            "use lower-case letters, digits, - and _, at most 63, and first a letter or a digit",
        )


def _targets(file: str, found: object) -> Mapping[str, Mapping[str, Any]]:
    """The sections of targets by their names, from what is in the section of all of them."""
    if found is None:
        return {}
    if not isinstance(found, dict) or not found:
        problem = "has no target" if isinstance(found, dict) else "must be sections"
        raise ConfigurationError(f"{file}: {TARGETS} {problem}", f"write [{TARGETS}.orders]")
    for name, section in found.items():
        if isinstance(section, list) and all(isinstance(each, dict) for each in section):
            raise ConfigurationError(
                f"{file}: {TARGETS}.{name} is an array",
                f"write [{TARGETS}.{name}], in single brackets",
            )
        if not isinstance(section, dict):
            raise ConfigurationError(
                f"{file}: {TARGETS}.{name} is in no target",
                f"write it into the section of one, such as [{TARGETS}.orders]",
            )
        check_target_name(name, file)
    return found


def _keys(file: str, sections: Mapping[str, Any], target: str = "") -> Iterator[RawSetting]:
    for key, value in sections.items():
        if isinstance(value, dict):
            for inner in value:
                yield RawSetting(f"{key}.{inner}", file, value[inner], is_key=True, target=target)
        else:
            yield RawSetting(key, file, value, is_key=True, target=target)


def read_environment() -> Mapping[str, str]:
    """The environment of this process in any locale. Our own variables must be UTF-8."""
    environment = {name: decoded(value) for name, value in os.environ.items()}
    for name, value in environment.items():
        if name.upper().startswith(_OURS) and not is_text(value):
            raise ConfigurationError(f"{name} is not UTF-8")
    return environment


def read_dotenv() -> Mapping[str, str | None]:
    """The variables in `.env`.

    A line that cannot be read would leave a setting at its default. It is rejected if it begins
    with one of our names; lines of other programs are ignored.
    """
    readable: list[str] = []
    for each in parse_stream(StringIO(_text(DOTENV))):
        line = each.original.string
        if not each.error and (each.key is None or each.value is not None):
            readable.append(line)
        elif _OUR_LINE.match(line):
            number = each.original.line + len(line) - len(line.lstrip("\n"))
            raise ConfigurationError(f"{DOTENV} line {number} cannot be read", "write NAME=value")
    return dotenv_values(stream=StringIO("".join(readable)))


def _read_toml(file: str) -> Mapping[str, Any]:
    text = _text(file)
    try:
        return _parse(text)
    except RecursionError:
        raise ConfigurationError(f"{file}: is nested too deeply") from None
    except ValueError as error:
        raise ConfigurationError(f"{file}: not valid TOML: {error}") from None


#: Each of many targets reads the whole file.
_parse = lru_cache(maxsize=1)(tomllib.loads)


def _list_secrets(folder: str) -> list[str]:
    try:
        names = [path.name for path in Path(folder).iterdir()]
    except OSError:  # it does not exist, or belongs to another program
        return []
    return sorted(name for name in names if name.upper().startswith(PREFIX))


def _text(name: str) -> str:
    try:
        return read_file(name).decode("utf-8-sig")
    except FileNotFoundError as error:
        # A file that is named must exist, and a mount that failed is not a missing file.
        if name == os.environ.get(CONFIG) or os.path.islink(name):  # noqa: PTH114
            raise _unreadable(name, error.strerror) from None
        return ""
    except UnicodeDecodeError:
        raise _unreadable(name, "is not UTF-8") from None
    except OSError as error:
        raise _unreadable(name, error.strerror) from None


def _unreadable(name: str, why: str | None) -> ConfigurationError:
    return ConfigurationError(f"{name} cannot be read: {why}")
