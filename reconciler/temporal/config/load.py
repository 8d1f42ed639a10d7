"""Temporal's own settings: TEMPORAL_* and temporal.toml, as arguments of `connect`.

Read by Temporal's own code, `temporalio.envconfig`, so that a profile means here what it means to
Temporal's command line; but what that code lets pass is refused: a file that is not there, a
variable that does not exist, a certificate that is none.
"""

from __future__ import annotations

import os
import re
import ssl
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
from reconciler.temporal.config.api_key import KeyFile, check_key
from reconciler.temporal.config.variables import API_KEY_FILE, check_variables

_FILE = "TEMPORAL_CONFIG_FILE"
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@]+):\d{1,5}")
_CERTIFICATE, _KEY = "CERTIFICATE", "PRIVATE KEY"
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_PEM = {
    _CERTIFICATE: re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----"),
    _KEY: re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]+-----END [A-Z ]*PRIVATE KEY-----"),
}


def load_config(environment: Mapping[str, str], proxy: str | None = None) -> dict[str, Any]:
    """Arguments of `connect`: those of `Client.connect`, and `key_file` for a key in a file.

    `proxy` is a URL that has been checked. Raises `ConfigurationError`. There is no default
    address: a daemon that guesses localhost in production would find every workflow missing.
    """
    check_variables({k: v for k, v in environment.items() if k != "TEMPORAL_ADDRESS" or v})
    key_file = None
    if path := environment.get(API_KEY_FILE):
        key_file = KeyFile(path)
        environment = {**environment, "TEMPORAL_API_KEY": key_file.renewed()}
    profile = _load_profile(environment)
    if not profile.address:
        raise ConfigurationError(
            "TEMPORAL_ADDRESS is not set: give Temporal's host:port, or a TEMPORAL_PROFILE"
        )
    if not _ADDRESS.fullmatch(profile.address):
        raise ConfigurationError(
            f"TEMPORAL_ADDRESS: must be host:port, and nothing else (it is {profile.address!r})"
        )
    if profile.api_key is not None:
        check_key("TEMPORAL_API_KEY", profile.api_key)
    if profile.tls is not None and not profile.tls.disabled:
        profile = replace(profile, tls=_checked_tls(profile.tls, environment))
    config = dict(profile.to_client_connect_config())
    if proxy is not None:
        config["http_connect_proxy_config"] = proxy_config(proxy)
    return config if key_file is None else {**config, "key_file": key_file}


def _read_config_file(environment: Mapping[str, str]) -> bytes | None:
    """The content of `temporal.toml`, for Temporal's own code: it would wait for a pipe."""
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
    """Where Temporal's own code looks, on Linux: the user's configuration folder."""
    given = os.environ.get("XDG_CONFIG_HOME", "")
    folder = given if os.path.isabs(given) else os.path.expanduser("~/.config")  # noqa: PTH111, PTH117
    return Path(folder, "temporalio", "temporal.toml")


def proxy_config(url: str) -> HttpConnectProxyConfig:
    """A proxy from its URL, http://[user:password@]host:port."""
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
    if missing := re.fullmatch(r"Profile '(.*)' not found", text):
        file = environment.get(_FILE, "temporal.toml")
        raise ConfigurationError(f"TEMPORAL_PROFILE: there is no profile {missing[1]!r} in {file}")
    text = text.removeprefix("Configuration loading error: ")
    text = text.removeprefix("Invalid configuration: ")
    raise ConfigurationError(
        f"Temporal's settings (TEMPORAL_*, {environment.get(_FILE, 'temporal.toml')}): {text}"
    )


def _checked_tls(tls: ClientConfigTLS, environment: Mapping[str, str]) -> ClientConfigTLS:
    """With the content of its files. Refuses what could not make a connection, before one is tried.

    Never repeats a key.
    """

    def named(part: str) -> str:
        names = (f"TEMPORAL_TLS_{part}_{kind}" for kind in ("PATH", "DATA"))
        return next((n for n in names if n in environment), f"{part.lower()}_path (temporal.toml)")

    read = replace(
        tls,
        server_root_ca_cert=_pem(named("SERVER_CA_CERT"), tls.server_root_ca_cert, _CERTIFICATE),
        client_cert=_pem(named("CLIENT_CERT"), tls.client_cert, _CERTIFICATE),
        client_private_key=_pem(named("CLIENT_KEY"), tls.client_private_key, _KEY),
    )
    if (tls.client_cert is None) != (tls.client_private_key is None):
        there, other = "CLIENT_CERT", "CLIENT_KEY"
        if tls.client_cert is None:
            there, other = other, there
        raise ConfigurationError(
            f"{named(there)} is set, and TEMPORAL_TLS_{other}_PATH is not: a client certificate "
            "needs both"
        )
    return read


def _pem(name: str, source: DataSource | None, kind: str) -> bytes | None:
    if source is None:
        return None
    where = f"{name}: {source}" if isinstance(source, Path) else name
    try:
        content = read_file(source) if isinstance(source, Path) else source
        text = content.decode() if isinstance(content, bytes) else content
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{where}: {getattr(error, 'strerror', None) or 'is no PEM file'}"
        ) from None
    if kind is _KEY and "ENCRYPTED" in text:
        raise ConfigurationError(f"{where}: is encrypted: give a key without a passphrase")
    blocks = _PEM[kind].findall(text)
    if not blocks:
        raise ConfigurationError(f"{where}: holds no {kind.lower()} in PEM format")
    if kind is _CERTIFICATE:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cadata="\n".join(blocks))
        except (ssl.SSLError, ValueError):
            raise ConfigurationError(f"{where}: holds a certificate that cannot be read") from None
    return text.encode()


def _without_excerpt(error: Exception) -> str:
    """The message without what it quotes of the file, lines and values: it may be the API key."""
    lines = " ".join(line for line in str(error).splitlines() if "|" not in line)
    return one_line(_QUOTED.sub('"…"', lines) or "cannot be read", 300)
