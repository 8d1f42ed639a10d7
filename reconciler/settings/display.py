"""The resolved settings of this process: name, value and source. Never a secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import reduce
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from reconciler.core.text import plural
from reconciler.postgres.connection.socket_options import LIMITS
from reconciler.postgres.table.row_filter import RowFilter
from reconciler.settings.model import FieldPath, Settings, environment_name, fields
from reconciler.settings.sources import ENVIRONMENT, RawSetting
from reconciler.settings.types import format_duration

HIDDEN = "(hidden)"
#: The parameters of libpq that contain no secret; the values of all others are hidden.
_HARMLESS = frozenset(
    {
        *("host", "port", "user", "dbname", "database", "sslmode", "sslnegotiation"),
        *("sslrootcert", "sslcert", "sslkey", "sslcrl", "ssl_min_protocol_version"),
        *("ssl_max_protocol_version", "passfile", "application_name", "target_session_attrs"),
        *("krbsrvname", "gsslib", "service", "search_path", *LIMITS),
    }
)
#: Always shown: they say where everything happens.
_ALWAYS = (("database_url",), ("table",))


@dataclass(frozen=True, slots=True)
class ResolvedSetting:
    """A setting by the name of its variable, in a form without secrets."""

    name: str
    value: str
    #: "environment", ".env", "reconciler.toml", "reconciler.toml [targets.orders]",
    #: "/run/secrets", "default".
    source: str


def resolved_settings(settings: Settings) -> list[ResolvedSetting]:
    """The database, the table, and every setting that differs from its default."""
    changed = [
        path
        for path, field in fields(Settings)
        if path not in _ALWAYS and _value(settings, path) != field.get_default()
    ]
    return [
        ResolvedSetting(
            environment_name(path),
            display_value(path, _value(settings, path)),
            settings.place(path),
        )
        for path in (*_ALWAYS, *changed)
    ]


def resolved_temporal(
    config: Mapping[str, Any], found: Mapping[str, RawSetting]
) -> list[ResolvedSetting]:
    """Temporal's address, namespace and authentication.

    `config` is from `load_config`, and `found` are the settings that it read; what is in neither
    of them is from `temporal.toml`.
    """
    file = found.get("TEMPORAL_CONFIG_FILE")
    in_file = Path(file.value).name if file else "temporal.toml"

    def source(name: str) -> str:
        # TLS has many variables, and a key may be in a file.
        named = [found[each] for each in found if each.startswith(name)]
        if name == "TEMPORAL_TLS" and not named and config.get("api_key"):
            return source("TEMPORAL_API_KEY")  # which turns TLS on
        if name == "TEMPORAL_NAMESPACE" and "namespace" not in config:
            return "default"
        if any(each.place == ENVIRONMENT for each in named):
            return ENVIRONMENT
        return named[0].source if named else in_file

    profile = found.get("TEMPORAL_PROFILE")
    values = _temporal_values(config, profile.value if profile else None)
    return [ResolvedSetting(name, value, source(name)) for name, value in values]


def _temporal_values(config: Mapping[str, Any], profile: str | None) -> Iterator[tuple[str, str]]:
    yield "TEMPORAL_ADDRESS", str(config["target_host"])
    yield "TEMPORAL_NAMESPACE", str(config.get("namespace", "default"))
    if profile:
        yield "TEMPORAL_PROFILE", profile
    if tls := config.get("tls"):
        certificate = getattr(tls, "client_cert", None)
        yield "TEMPORAL_TLS", "on, with a client certificate" if certificate else "on"
    if config.get("api_key"):
        yield "TEMPORAL_API_KEY", HIDDEN
    for name in config.get("rpc_metadata") or ():
        yield f"TEMPORAL_GRPC_META_{name.upper().replace('-', '_')}", HIDDEN


def display_url(url: str) -> str:
    """A URL without its user and password; the user may be a token."""
    parts = urlsplit(url)
    _, at, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{HIDDEN}@{place}" if at else place).geturl()


def display_database_url(url: str) -> str:
    """The URL of a database without its password, and without parameters that may be secrets."""
    parts = urlsplit(url)
    credentials, at, hosts = parts.netloc.rpartition("@")
    user = credentials.partition(":")[0]
    query = parse_qsl(parts.query, keep_blank_values=True)
    shown = [f"{name}={value if name in _HARMLESS else HIDDEN}" for name, value in query]
    return f"{user}{at}{hosts}{parts.path}" + (f"?{'&'.join(shown)}" if shown else "")


def database_place(url: str) -> str:
    """Where the database of a parsed URL is: hosts and name, nothing else of it."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    hosts = parts.netloc.rpartition("@")[2] or ":".join(
        query[name] for name in ("host", "port") if name in query
    )
    name = parts.path.lstrip("/") or query.get("dbname") or query.get("database")
    return f"{hosts or 'localhost'}/{name or ''}".rstrip("/")


#: Settings that contain a secret, perhaps by mistake.
_PARTLY_HIDDEN: Mapping[str, Callable[[Any], str]] = {
    "database_url": lambda url: display_database_url(url.get_secret_value()),
    "temporal_proxy": lambda url: display_url(url.get_secret_value()),
    "codec_endpoint": display_url,
    "redact": lambda expressions: plural(len(expressions), "expression"),
}


def display_value(path: FieldPath, value: Any) -> str:
    """A value as an operator writes it, or `HIDDEN`."""
    if value and (display := _PARTLY_HIDDEN.get(path[-1])):
        return display(value)
    match value:
        case timedelta():
            return format_duration(value)
        case Enum():
            return str(value.value)
        case bool():
            return "on" if value else "off"
        case tuple():
            return ", ".join(display_value(path, each) for each in value)
        case None:
            return "none"
        case float():
            return f"{value:g}"
        case str() | int() | RowFilter():
            return str(value)
        case _:  # a secret, or a new type that may be one
            return HIDDEN


def _value(settings: Settings, path: FieldPath) -> Any:
    return reduce(getattr, path, settings)
