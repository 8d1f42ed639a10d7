"""Loads the settings of this process.

Errors are one line and name a setting as the operator wrote it. Names that do not exist are
rejected: a typo must not become a silent default.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from reconciler.core.errors import ConfigurationError
from reconciler.settings.model import FieldPath, Settings, environment_name, fields, toml_key
from reconciler.settings.sources import (
    CONFIG,
    ENVIRONMENT,
    PREFIX,
    RawSetting,
    check_quotes,
    read_dotenv,
    read_environment,
    read_settings,
)
from reconciler.settings.table import TableSettings
from reconciler.settings.types import is_secret

_URL, _URL_FILE = ("database_url",), ("database_url_file",)
#: Those of our own tests.
_TESTS = f"{PREFIX}TEST_"
# Kubernetes sets these in every container of a namespace with a Service called reconciler, or
# reconciler-something: RECONCILER_SERVICE_HOST, RECONCILER_PORT=tcp://…, RECONCILER_PORT_8080_TCP…
_SERVICE_LINK = re.compile(
    rf"{PREFIX}(\w+_)?(SERVICE_(HOST=|PORT(_\w+)?=)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?=|=\w+://)).*"
)
# Replacements for some of pydantic's messages.
_REASONS = {
    "float_parsing": "must be a number",
    "int_parsing": "must be a whole number",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}

_log = logging.getLogger("reconciler.worker")
#: The warnings that this process has logged.
_logged: set[str] = set()

_S = TypeVar("_S", bound=TableSettings)


class _Unknown(NamedTuple):
    problem: str
    is_typo: bool


def load_settings(kind: type[_S], **overrides: Any) -> _S:
    """The settings of this process, or some of them.

    `overrides` are the command line options that replace settings. Raises `ConfigurationError`,
    which contains no secrets.
    """
    found, unknown = _match(read_settings())
    if unknown:
        raise ConfigurationError("; ".join(each.problem for each in unknown))
    return _build(kind, found, overrides)


def load_guest_settings(kind: type[_S]) -> _S:
    """The settings of a process that is not ours, such as a worker of the application.

    There, names with our prefix may belong to other programs. Unknown names are logged once and
    ignored, unless they look like a typo of an existing one.
    """
    found, unknown = _match(read_settings())
    for problem in sorted({each.problem for each in unknown if not each.is_typo} - _logged):
        _logged.add(problem)
        _log.warning("%s, so it is ignored", problem)
    if typos := [each.problem for each in unknown if each.is_typo]:
        raise ConfigurationError("; ".join(typos))
    return _build(kind, found, {})


def temporal_environment() -> Mapping[str, str]:
    """The TEMPORAL_* variables, for Temporal's own code: the environment wins over `.env`.

    No others, because Temporal's code takes only text, and a variable can be any bytes. Raises
    `ConfigurationError`.
    """
    found = read_environment()
    ours = {name: value for name, value in found.items() if name.startswith("TEMPORAL_")}
    for name, value in ours.items():
        check_quotes(name, value)
    in_file = read_dotenv().items()
    return {n: v for n, v in in_file if v is not None and n.startswith("TEMPORAL_")} | ours


@cache
def _variables() -> Mapping[str, FieldPath]:
    return {environment_name(path): path for path, _ in fields(Settings)}


@cache
def _keys() -> Mapping[str, FieldPath]:
    return {toml_key(path): path for path, _ in fields(Settings)}


def _match(settings: Iterable[RawSetting]) -> tuple[dict[FieldPath, RawSetting], list[_Unknown]]:
    """The settings by their path, and those that belong to no path."""
    found: dict[FieldPath, RawSetting] = {}
    unknown = []
    for each in settings:
        # The names of variables are case-insensitive.
        path = _keys().get(each.name) if each.is_key else _variables().get(each.name.upper())
        if path is not None:
            found.setdefault(path, each)
        elif each.is_key or _is_ours(each):
            unknown.append(_describe(each))
    return found, unknown


def _is_ours(given: RawSetting) -> bool:
    name = given.name.upper()
    if not name.startswith(PREFIX) or name.startswith(_TESTS):
        return False
    if given.place == ENVIRONMENT:
        return name != CONFIG and not _SERVICE_LINK.fullmatch(f"{name}={given.value}")
    return True


def _describe(given: RawSetting) -> _Unknown:
    name = given.name.upper()
    if given.is_key and name not in _variables():
        name = PREFIX + name.removeprefix(PREFIX).replace(".", "__")
    if inner := next((known for known in _variables() if known.startswith(f"{name}__")), None):
        example = toml_key(_variables()[inner]) if given.is_key else inner
        return _Unknown(f"{given}: set its parts, such as {example}", is_typo=True)
    near = difflib.get_close_matches(name, _variables(), n=1, cutoff=0.85)
    hint = ""
    if near:
        meant = toml_key(_variables()[near[0]]) if given.is_key else near[0]
        hint = f", did you mean {meant}?"
    if given.is_key:
        return _Unknown(f"{given.place}: unknown key {given.name}{hint}", bool(near))
    return _Unknown(f"{given.name} ({given.place}): there is no such setting{hint}", bool(near))


def _build(kind: type[_S], found: dict[FieldPath, RawSetting], overrides: Mapping[str, Any]) -> _S:
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
        raise ConfigurationError("; ".join(_problems(kind, error, found, overrides))) from None
    settings.set_places({path: given.place for path, given in found.items()})
    return settings


def _url_in_file(found: Mapping[FieldPath, RawSetting]) -> RawSetting:
    file = found[_URL_FILE]
    if url := found.get(_URL):
        raise ConfigurationError(
            f"{url.name} ({url.place}) and {file.name} ({file.place}) exclude each other",
            "remove one of them",
        )
    if not file.value:
        raise ConfigurationError(f"{file} is empty", "set it to the path of a file")
    return RawSetting(file.name, file.place, Path(str(file.value)))


def _problems(
    kind: type[TableSettings],
    error: ValidationError,
    found: Mapping[FieldPath, RawSetting],
    overrides: Collection[str],
) -> Iterator[str]:
    # An endpoint may contain a password by mistake.
    secret = {path for path, field in fields(kind) if is_secret(field.annotation)}
    secret.add(("codec_endpoint",))
    for problem in error.errors(include_url=False):
        # Without positions in lists, which have no name.
        path = tuple(str(part) for part in problem["loc"] if not isinstance(part, int))
        # The parts of a section that contradict each other.
        parts = problem.get("ctx", {}).get("parts", ())
        name = _as_written([(*path, part) for part in parts] or [path], found)
        if path[0] in overrides:
            name = "--" + path[0].replace("_", "-")
        if problem["type"] == "missing":
            yield f"{name} is not set"
            if kind is Settings:
                yield from _missing_from_temporal()
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
        return f"{given[0].place}: " + " and ".join(map(toml_key, paths))
    return " and ".join(str(found.get(path, environment_name(path))) for path in paths)


def _missing_from_temporal() -> Iterator[str]:
    """What is wrong with Temporal's settings, so that a newcomer sees both in one line."""
    # It imports Temporal's SDK, which takes a while.
    from reconciler.temporal.config.load import load_config  # noqa: PLC0415

    try:
        load_config(temporal_environment())
    except ConfigurationError as error:
        yield str(error)
