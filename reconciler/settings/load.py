"""Loads the settings of this process.

Errors are one line and name a setting as the operator wrote it. Names that do not exist are
rejected: a typo must not become a silent default.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from reconciler.core.errors import ConfigurationError
from reconciler.settings.model import (
    DatabaseSettings,
    FieldPath,
    Settings,
    environment_name,
    fields,
    toml_key,
)
from reconciler.settings.sources import RawSetting, read_settings
from reconciler.settings.table import TableSettings
from reconciler.settings.temporal import check_type, temporal_environment, temporal_name
from reconciler.settings.types import is_secret
from reconciler.settings.unknown_names import (
    UnknownName,
    is_ours,
    keys,
    read_ignored,
    variables,
)

_URL, _URL_FILE, _IGNORE = ("database_url",), ("database_url_file",), ("ignore",)
_CONVERTER, _CODEC, _HEADERS = ("data_converter",), ("codec_endpoint",), ("codec_headers",)
#: What a target does not take from outside if it has the former. Headers hold a secret, which is
#: for the codec server beside which they are set.
_EXCLUDED: Mapping[FieldPath, Sequence[FieldPath]] = {
    _URL: (_URL_FILE,),
    _URL_FILE: (_URL,),
    _CONVERTER: (_CODEC, _HEADERS),
    _CODEC: (_CONVERTER, _HEADERS),
    _HEADERS: (_CONVERTER,),
}
#: Settings that no target can have for itself.
_OF_PROCESS = frozenset(
    {
        *("http_host", "http_port", "page", "page_password", "page_password_file"),
        *("log_level", "log_format", "ignore"),
    }
)
# Replacements for some of pydantic's messages.
_REASONS = {
    "float_parsing": "must be a number",
    "int_parsing": "must be a whole number",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}

_S = TypeVar("_S", bound=TableSettings)


class Guest(NamedTuple):
    """The settings of a process that is not ours, such as a worker of the application."""

    #: `DatabaseSettings` if it connects by itself and a URL is set.
    settings: TableSettings
    #: What is wrong with names that are not settings: to be logged once.
    warnings: tuple[str, ...]


def load_settings(kind: type[_S], **overrides: Any) -> _S:
    """The settings of this process, or some of them.

    `overrides` are the command line options that replace settings. Raises `ConfigurationError`,
    which contains no secrets.
    """
    return load_target(kind, "", overrides)


def load_target(kind: type[_S], target: str, overrides: Mapping[str, Any]) -> _S:
    """The same for a target of `reconciler.toml`, whose section wins over everything else.

    `overrides` win over that, too. Each error names the target.
    """
    found, unknown = _match(read_settings(target))
    if unknown:
        raise ConfigurationError("; ".join(map(str, unknown)))
    settings = _build(kind, found, overrides, target)
    settings.target = target
    return settings


def load_guest_settings(target: str = "", *, connects: bool) -> Guest:
    """The settings of a process that shares its environment with other programs.

    There, variables with our prefix may be theirs: unknown ones are no error, but a key in
    `reconciler.toml` is. `connects`: with the settings of the connection, if a URL is set. Raises
    `ConfigurationError`.
    """
    found, unknown = _match(read_settings(target))
    if ours := [str(each) for each in unknown if each.given.is_key]:
        raise ConfigurationError("; ".join(ours))
    has_url = connects and (_URL in found or _URL_FILE in found)
    settings = _build(DatabaseSettings if has_url else TableSettings, found, {}, target)
    settings.target = target
    return Guest(settings, tuple(sorted({f"ignoring {each}" for each in unknown})))


def _match(
    settings: Iterable[RawSetting],
) -> tuple[dict[FieldPath, RawSetting], list[UnknownName]]:
    """The settings by their path, and those that belong to no path."""
    found: dict[FieldPath, RawSetting] = {}
    excluded: set[FieldPath] = set()
    others = []
    for each in settings:
        # The names of variables are case-insensitive.
        path = keys().get(each.name) if each.is_key else variables().get(each.name.upper())
        if path is None:
            if each.is_key and temporal_name(each.name):
                check_type(each)
            else:
                others.append(each)
        elif each.target:
            if path[0] in _OF_PROCESS:
                problem = f"{each} is about the whole process"
                raise ConfigurationError(problem, "set it above the targets")
            found[path] = each
            excluded.update(_EXCLUDED.get(path, ()))
        elif path not in excluded:
            found.setdefault(path, each)
    ignored = read_ignored(found.get(_IGNORE))
    return found, [UnknownName(each) for each in others if is_ours(each, ignored)]


def _build(
    kind: type[_S],
    found: dict[FieldPath, RawSetting],
    overrides: Mapping[str, Any],
    target: str = "",
) -> _S:
    if _URL[0] in kind.model_fields and _URL_FILE in found:
        found[_URL] = _url_in_file(found)
    values: dict[str, Any] = {}
    for path, given in found.items():
        if path[0] in kind.model_fields:
            section = values.setdefault(path[0], {}) if path[1:] else values
            section[path[-1]] = given.read()
    try:
        settings = kind(**{**values, **overrides})
    except ValidationError as error:
        problems = list(_problems(kind, error, found, overrides, target))
        # Which of them it is about need not be said twice.
        is_said = not target or all(f"targets.{target}." in each for each in problems)
        about = "" if is_said else f"target {target}: "
        raise ConfigurationError(about + "; ".join(problems)) from None
    settings.set_places({path: given.source for path, given in found.items()})
    return settings


def _url_in_file(found: Mapping[FieldPath, RawSetting]) -> RawSetting:
    file = found[_URL_FILE]
    if url := found.get(_URL):
        raise ConfigurationError(
            f"{url.name} ({url.source}) and {file.name} ({file.source}) exclude each other",
            "remove one of them",
        )
    if not file.value:
        raise ConfigurationError(f"{file} is empty", "set it to the path of a file")
    return RawSetting(file.name, file.source, Path(str(file.value)))


def _problems(
    kind: type[TableSettings],
    error: ValidationError,
    found: Mapping[FieldPath, RawSetting],
    overrides: Collection[str],
    target: str,
) -> Iterator[str]:
    # A URL may contain a password by mistake.
    secret = {path for path, field in fields(kind) if is_secret(field.annotation)}
    secret |= {("codec_endpoint",), ("temporal_ui",)}
    for problem in error.errors(include_url=False):
        # Without positions in lists, which have no name.
        path = tuple(str(part) for part in problem["loc"] if not isinstance(part, int))
        # The parts of a section that contradict each other.
        parts = problem.get("ctx", {}).get("parts", ())
        name = _as_written([(*path, part) for part in parts] or [path], found)
        if path[0] in overrides:
            name = "--" + path[0].replace("_", "-")
        if problem["type"] == "missing":
            here = f": set database_url or database_url_file in [targets.{target}]"
            yield f"{name} is not set{here if target else ''}"
            if kind is Settings:
                yield from _missing_from_temporal(target)
            continue
        text = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        reason = _REASONS.get(problem["type"]) or text[:1].lower() + text[1:]
        given = problem["input"]
        hidden = path in secret or isinstance(given, dict)
        yield f"{name}: {reason}" + ("" if hidden else f" (it is {given!r})")


def _as_written(paths: Sequence[FieldPath], found: Mapping[FieldPath, RawSetting]) -> str:
    """These settings as the operator wrote them, or their variables if they are not set."""
    given = [found[path] for path in paths if path in found]
    if given and all(each.is_key for each in given):
        names = (found[path].key if path in found else toml_key(path) for path in paths)
        return f"{given[0].place}: " + " and ".join(names)
    return " and ".join(str(found.get(path, environment_name(path))) for path in paths)


def _missing_from_temporal(target: str) -> Iterator[str]:
    """What is wrong with Temporal's settings, so that a newcomer sees both in one line."""
    # It imports Temporal's SDK, which takes a while.
    from reconciler.temporal.config.load import load_config  # noqa: PLC0415

    try:
        load_config(temporal_environment(target))
    except ConfigurationError as error:
        yield str(error)
