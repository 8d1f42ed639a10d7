"""Reading the settings of this process: environment, `.env`, `reconciler.toml`.

Refuses what is wrong in one line that names the setting, and refuses names that do not exist: a
typo must not be a silent default.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import SettingsError

from reconciler.core.errors import ConfigurationError
from reconciler.settings.model import Settings
from reconciler.settings.secret_files import SUFFIX, SecretFromFile, secrets, setting_name
from reconciler.settings.sources import (
    CONFIG,
    DOTENV,
    read_dotenv,
    read_environment,
    read_toml,
    toml_file,
)
from reconciler.settings.table import PREFIX, TableSettings

_TESTS = f"{PREFIX}TEST_"
# What Kubernetes puts into every container of a namespace with a Service called reconciler, or
# reconciler-something: RECONCILER_SERVICE_HOST, RECONCILER_PORT=tcp://…, RECONCILER_PORT_8080_TCP…
_SERVICE_LINK = re.compile(
    rf"{PREFIX}(\w+_)?(SERVICE_(HOST=|PORT(_\w+)?=)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?=|=\w+://)).*"
)


# What pydantic says in words about types and items.
_REASONS = {
    "float_parsing": "must be a number",
    "int_parsing": "must be a whole number",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}

_log = logging.getLogger("reconciler.worker")
#: What has been logged by this process.
_logged: set[str] = set()

_S = TypeVar("_S", bound=TableSettings)


def load_settings(kind: type[_S], **overrides: Any) -> _S:
    """The settings of this process, or some of them.

    `overrides` are what options of the command line say instead. Raises `ConfigurationError`: one
    line, no secrets.
    """
    return _loaded(kind, [complaint for complaint, _ in _unknown_names()], overrides)


def load_guest_settings(kind: type[_S]) -> _S:
    """The settings of a process that is not ours, such as a worker of the application.

    There, names with our prefix may be other people's: those that resemble none of ours are
    logged, once, and left alone. What looks like a typo is refused here too.
    """
    unknown = list(_unknown_names())
    for complaint in sorted({complaint for complaint, is_typo in unknown if not is_typo} - _logged):
        _logged.add(complaint)
        _log.warning("%s, so it is ignored", complaint)
    return _loaded(kind, [complaint for complaint, is_typo in unknown if is_typo], {})


def _loaded(kind: type[_S], unknown: Collection[str], overrides: Mapping[str, Any]) -> _S:
    try:
        if unknown:
            raise ConfigurationError("; ".join(unknown))
        return kind(**overrides)
    except ValidationError as error:
        raise ConfigurationError("; ".join(_complaints(kind, error, overrides))) from None
    except SettingsError as error:  # a group, such as RECONCILER_COLUMNS, set as a whole
        group = re.search(r'field "(\w+)"', str(error))
        name = environment_name((group[1],)) if group else f"{PREFIX}*"
        raise ConfigurationError(f"{name}: set its parts, as {name}__<NAME>=…") from None


def temporal_environment() -> Mapping[str, str]:
    """The variables Temporal's own configuration is read from: environment first, then .env.

    Only its own: Temporal's code takes nothing but text, which other variables need not be.
    """
    return {
        name: value
        for name, value in {**read_dotenv(), **read_environment()}.items()
        if value is not None and name.startswith("TEMPORAL_")
    }


def environment_name(path: tuple[str, ...]) -> str:
    """The variable that sets this field, e.g. ("columns", "run_id")."""
    if path[0].lower().removesuffix(SUFFIX.lower()) == "database_url":
        return path[0].upper()
    return PREFIX + "__".join(path).upper()


def _unknown_names() -> Iterator[tuple[str, bool]]:
    """One complaint per setting that does not exist, and whether it looks like a typo of one."""
    known = set(_known_names())
    given = dict.fromkeys(os.environ, "environment")
    given |= dict.fromkeys(read_dotenv(), DOTENV)
    given |= {environment_name(path): toml_file() for path in toml_paths()}
    for name, source in given.items():
        # Names are case-insensitive, as in pydantic-settings; RECONCILER_TEST_* are the tests'.
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper.startswith(_TESTS):
            continue
        if name == CONFIG and source == "environment":
            continue
        if name in os.environ and _SERVICE_LINK.fullmatch(f"{upper}={os.environ[name]}"):
            continue
        if upper not in known:
            near = difflib.get_close_matches(upper, known, n=1, cutoff=0.85)
            hint = f", did you mean {near[0]}?" if near else ""
            yield f"{name} ({source}): there is no such setting{hint}", bool(near)


def _known_names() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from (environment_name((name, inner)) for inner in nested.model_fields)
        yield environment_name((name,))
    yield from (setting_name(Settings, name) + SUFFIX for name in secrets(Settings))


def toml_paths() -> Iterator[tuple[str, ...]]:
    """The settings that are in `reconciler.toml`. Raises `ConfigurationError` if it is no TOML."""
    for key, value in read_toml().items():
        if isinstance(value, dict):
            yield from ((key, inner) for inner in value)
        else:
            yield (key,)


def _complaints(
    kind: type[TableSettings], error: ValidationError, overrides: Collection[str]
) -> Iterator[str]:
    # An endpoint may have a password in it, if it has no business there.
    secret = {setting_name(kind, name) for name in (*secrets(kind), "codec_endpoint")}
    for problem in error.errors(include_url=False):
        # Without the place in a list, which has no name.
        path = tuple(str(part) for part in problem["loc"] if not isinstance(part, int))
        option = "--" + path[0].replace("_", "-")
        name = option if path[0] in overrides else environment_name(path)
        if problem["type"] == "missing":
            yield f"{name} is not set"
            continue
        reason = _REASONS.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
        reason = reason[:1].lower() + reason[1:]
        given = problem["input"]
        if isinstance(given, SecretFromFile):
            name = given.file.name
        hidden = name in secret or isinstance(given, SecretStr | dict)
        yield f"{name}: {reason}" + ("" if hidden else f" (it is {given!r})")
