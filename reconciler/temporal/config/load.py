"""Load Temporal's own settings, TEMPORAL_* and temporal.toml, as arguments of `connect`.

Temporal's own code parses them (`temporalio.envconfig`), so that a profile means the same here as
to Temporal's command line. That code accepts some mistakes, and blocks on a pipe. So this module
reads the files itself, and rejects values that Temporal would misread.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from temporalio.envconfig import ClientConfigProfile, ClientConfigTLS, DataSource
from temporalio.service import HttpConnectProxyConfig

from reconciler.core.errors import ConfigurationError
from reconciler.core.text import one_line
from reconciler.host.files import read_file
from reconciler.temporal.config.api_key import API_KEY_FILE, KeyFile, check_key

_FILE = "TEMPORAL_CONFIG_FILE"
_NAMESPACE = "TEMPORAL_NAMESPACE"
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@]+):\d{1,5}")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
#: If one of these is empty, its value was not filled in.
_NOT_EMPTY = (_NAMESPACE, "TEMPORAL_API_KEY", API_KEY_FILE)


def load_config(environment: Mapping[str, str], proxy: str | None = None) -> dict[str, Any]:
    """The `config` of `connect`: arguments of `Client.connect`, and perhaps a `key_file`.

    `proxy` is a URL that has been checked. Raises `ConfigurationError`. There is no default
    address: a loop that assumes localhost in production would find every workflow missing.
    """
    _check_values(environment)
    key_file = None
    if path := environment.get(API_KEY_FILE):
        key_file = KeyFile(path)
        environment = {**environment, "TEMPORAL_API_KEY": key_file.current()}
    profile = _load_profile(environment)
    if not profile.address:
        raise ConfigurationError(
            "TEMPORAL_ADDRESS is not set", "give Temporal's host:port, or a TEMPORAL_PROFILE"
        )
    if not _ADDRESS.fullmatch(profile.address):
        raise ConfigurationError(
            f"TEMPORAL_ADDRESS: must be host:port, and nothing else (it is {profile.address!r})"
        )
    if profile.api_key is not None:
        check_key("TEMPORAL_API_KEY", profile.api_key)
    if profile.tls is not None and not profile.tls.disabled:
        profile = replace(profile, tls=_with_files(profile.tls, environment))
    config = dict(profile.to_client_connect_config())
    if proxy is not None:
        config["http_connect_proxy_config"] = proxy_config(proxy)
    return config if key_file is None else {**config, "key_file": key_file}


def load_namespace(environment: Mapping[str, str]) -> str:
    """The namespace alone, for commands that do not connect. Raises `ConfigurationError`."""
    _check_values(environment)
    return _load_profile(environment).namespace or "default"


def _check_values(environment: Mapping[str, str]) -> None:
    """Raise `ConfigurationError`, which never repeats a value."""
    for name in _NOT_EMPTY:
        if name in environment and not environment[name].strip():
            raise ConfigurationError(f"{name} is empty", "set it, or remove it")
    if environment.get("TEMPORAL_TLS", "true").lower() not in ("true", "1", "false", "0"):
        # Temporal's code takes any other word as true: off, no, disabled.
        raise ConfigurationError("TEMPORAL_TLS must be true or false")
    near = difflib.get_close_matches(_NAMESPACE, environment, n=1, cutoff=0.9)
    if near and _NAMESPACE not in environment:
        # Temporal would use `default`, where every workflow is missing. Other typos just fail.
        raise ConfigurationError(
            f"{near[0]}: there is no such variable, did you mean {_NAMESPACE}?"
        )
    if "TEMPORAL_API_KEY" in environment and API_KEY_FILE in environment:
        raise ConfigurationError(
            f"TEMPORAL_API_KEY and {API_KEY_FILE} are both set", "remove one of them"
        )


def _read_config_file(environment: Mapping[str, str]) -> bytes | None:
    """The content of `temporal.toml`; Temporal's own code would block on a pipe."""
    named = environment.get(_FILE)
    path = Path(named) if named is not None else _default_file()
    try:
        return read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        if named is None:
            return None
        raise ConfigurationError(f"{_FILE}: there is no file {path}") from None
    except OSError as error:
        name = f"{_FILE}: " if named is not None else ""
        raise ConfigurationError(f"{name}cannot read {path}: {error.strerror}") from None


def _default_file() -> Path:
    """Where Temporal's own code looks on Linux: the user's configuration folder."""
    given = os.environ.get("XDG_CONFIG_HOME", "")
    folder = given if os.path.isabs(given) else os.path.expanduser("~/.config")  # noqa: PTH111, PTH117
    return Path(folder, "temporalio", "temporal.toml")


def proxy_config(url: str) -> HttpConnectProxyConfig:
    """The proxy at http://[user:password@]host:port."""
    parts = urlsplit(url)
    login = None
    if parts.username is not None:
        login = unquote(parts.username), unquote(parts.password or "")
    return HttpConnectProxyConfig(parts.netloc.rpartition("@")[2], login)


def _load_profile(environment: Mapping[str, str]) -> ClientConfigProfile:
    try:
        return ClientConfigProfile.load(
            config_source=_read_config_file(environment),
            config_file_strict=True,
            override_env_vars=dict(environment),
        )
    except (RuntimeError, ValueError, OSError) as error:
        text = _without_excerpt(error)
    file = environment.get(_FILE, "temporal.toml")
    raise ConfigurationError(f"Temporal's settings (TEMPORAL_*, {file}): {text}")


def _with_files(tls: ClientConfigTLS, environment: Mapping[str, str]) -> ClientConfigTLS:
    """Replace paths with the content of the files. Raises `ConfigurationError`."""

    def read(part: str, source: DataSource | None) -> DataSource | None:
        if not isinstance(source, Path):
            return source
        try:
            return read_file(source)
        except OSError as error:
            variable, key = f"TEMPORAL_TLS_{part}_PATH", f"{part.lower()}_path (temporal.toml)"
            name = variable if variable in environment else key
            raise ConfigurationError(f"{name}: {source}: {error.strerror}") from None

    return replace(
        tls,
        server_root_ca_cert=read("SERVER_CA_CERT", tls.server_root_ca_cert),
        client_cert=read("CLIENT_CERT", tls.client_cert),
        client_private_key=read("CLIENT_KEY", tls.client_private_key),
    )


def _without_excerpt(error: Exception) -> str:
    """The message without quoted lines and values of the file, which may be the API key."""
    lines = " ".join(line for line in str(error).splitlines() if "|" not in line)
    return one_line(_QUOTED.sub('"…"', lines) or "cannot be read", 300)
