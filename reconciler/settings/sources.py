"""Where settings come from: the environment, and `.env` and `reconciler.toml` in this folder.

RECONCILER_CONFIG names another file in place of the latter, which then must be there; the two of
this folder may be missing. Whatever else is wrong with one is a `ConfigurationError` of one line.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from io import StringIO
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource
from pydantic_settings.sources.utils import parse_env_vars

from reconciler.core.errors import ConfigurationError
from reconciler.host.files import read_file
from reconciler.host.streams import decoded, is_text

DOTENV = ".env"
TOML = "reconciler.toml"
CONFIG = "RECONCILER_CONFIG"
_OURS = ("RECONCILER_", "DATABASE_URL", "TEMPORAL_")
_OUR_LINE = re.compile(rf"\s*(export\s+)?['\"]?({'|'.join(_OURS)}|PG[A-Z])", re.IGNORECASE)


def read_environment() -> Mapping[str, str]:
    """The environment of this process, whatever its locale; ours has to be text."""
    environment = {name: decoded(value) for name, value in os.environ.items()}
    for name, value in environment.items():
        if name.upper().startswith(_OURS) and not is_text(value):
            raise ConfigurationError(f"{name} is not UTF-8")
    return environment


def read_dotenv() -> Mapping[str, str | None]:
    """The variables in `.env`.

    A line that cannot be read would leave a setting at its default, so it is refused if it begins
    with a name that is ours. Those of other programs are left out.
    """
    readable: list[str] = []
    for each in parse_stream(StringIO(_text(DOTENV))):
        line = each.original.string
        if not each.error and (each.key is None or each.value is not None):
            readable.append(line)
        elif _OUR_LINE.match(line):
            number = each.original.line + len(line) - len(line.lstrip("\n"))
            raise ConfigurationError(f"{DOTENV} line {number} cannot be read: write NAME=value")
    return dotenv_values(stream=StringIO("".join(readable)))


def toml_file() -> str:
    """The `reconciler.toml` to read."""
    return os.environ.get(CONFIG) or TOML


def read_toml() -> dict[str, Any]:
    """What `reconciler.toml` holds."""
    name = toml_file()
    text = _text(name)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigurationError(f"{name}: is nested too deeply") from None
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from None


class EnvironmentSource(EnvSettingsSource):
    """The environment for pydantic-settings."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return parse_env_vars(read_environment(), self.case_sensitive, self.env_ignore_empty)


class DotenvSource(DotEnvSettingsSource):
    """`.env` for pydantic-settings, which by itself would wait for a pipe."""

    def _read_env_files(self) -> Mapping[str, str | None]:
        return parse_env_vars(read_dotenv(), self.case_sensitive, self.env_ignore_empty)


def _text(name: str) -> str:
    try:
        return read_file(name).decode("utf-8-sig")
    except FileNotFoundError as error:
        # A file that was asked for has to be there; a mount that failed is no missing file.
        if name == os.environ.get(CONFIG) or os.path.islink(name):  # noqa: PTH114
            raise _unreadable(name, error.strerror) from None
        return ""
    except UnicodeDecodeError:
        raise _unreadable(name, "is not UTF-8") from None
    except OSError as error:
        raise _unreadable(name, error.strerror) from None


def _unreadable(name: str, why: str | None) -> ConfigurationError:
    return ConfigurationError(f"{name} cannot be read: {why}")
