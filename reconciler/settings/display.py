"""The settings of this process as they were resolved, to be shown: what, from where, no secrets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, SecretStr

from reconciler.postgres.table.names import RowFilter
from reconciler.settings.load import environment_name, toml_paths
from reconciler.settings.model import Settings
from reconciler.settings.secret_files import SUFFIX, SecretFromFile
from reconciler.settings.sources import DOTENV, read_dotenv, toml_file

HIDDEN = "(hidden)"
DEFAULT = "default"
#: What libpq's parameters may say that is no secret; the values of all others are hidden.
_HARMLESS = frozenset(
    {
        *("host", "port", "user", "dbname", "database", "sslmode", "sslnegotiation"),
        *("sslrootcert", "sslcert", "sslkey", "sslcrl", "ssl_min_protocol_version"),
        *("ssl_max_protocol_version", "passfile", "application_name", "target_session_attrs"),
        *("krbsrvname", "gsslib", "service", "servicefile"),
    }
)
#: Shown whether they are set or not: they say where everything happens.
_ALWAYS = ("DATABASE_URL", "RECONCILER_TABLE")
_API_KEY = "TEMPORAL_API_KEY"


@dataclass(frozen=True, slots=True)
class ResolvedSetting:
    """A setting by the name of its variable, in a form that may be shown to anybody."""

    name: str
    value: str
    #: Where it was found: "environment", ".env", "reconciler.toml", "file PATH", "default".
    source: str

    def as_json(self) -> Mapping[str, Any]:
        """The setting as `--json` prints it."""
        return {"name": self.name, "value": self.value, "source": self.source}


def resolved_settings(settings: Settings) -> list[ResolvedSetting]:
    """The database, the table, and whatever else is not as it is by default."""
    sources = _sources()
    shown = {}
    for path, value, changed in _values(settings, ()):
        name = environment_name(path)
        if changed or name in _ALWAYS:
            source = sources.get(name, DEFAULT)
            if isinstance(value, SecretFromFile):
                source = f"file {value.file.path}"
            shown[name] = ResolvedSetting(name, _shown(path, value), source)
    first = [shown.pop(name) for name in _ALWAYS]
    return [*first, *shown.values()]


def resolved_temporal(
    config: Mapping[str, Any], environment: Mapping[str, str]
) -> list[ResolvedSetting]:
    """Temporal's address and namespace, and how it is spoken to, from `load_config`.

    `environment` is what that has read; what is not in it is from `temporal.toml`.
    """
    in_file = Path(environment.get("TEMPORAL_CONFIG_FILE", "temporal.toml")).name
    sources = dict.fromkeys(_names_in(environment), DOTENV)
    sources |= dict.fromkeys(_names_in(os.environ), "environment")
    key = _API_KEY
    if key_file := environment.get(_API_KEY + SUFFIX):
        key += SUFFIX
        sources = {_API_KEY: f"file {key_file}"} | sources
    if config.get("api_key"):  # turns it on by itself
        sources.setdefault("TEMPORAL_TLS", key)
    if "namespace" not in config:
        sources["TEMPORAL_NAMESPACE"] = DEFAULT
    return [
        ResolvedSetting(name, value, _temporal_source(name, sources) or in_file)
        for name, value in _temporal_values(config, environment.get("TEMPORAL_PROFILE"))
    ]


def _temporal_values(config: Mapping[str, Any], profile: str | None) -> Iterator[tuple[str, str]]:
    yield "TEMPORAL_ADDRESS", str(config["target_host"])
    yield "TEMPORAL_NAMESPACE", str(config.get("namespace", "default"))
    if profile:
        yield "TEMPORAL_PROFILE", profile
    if tls := config.get("tls"):
        yield "TEMPORAL_TLS", ", ".join(_shown_tls(tls))
    if config.get("api_key"):
        yield _API_KEY, HIDDEN
    for name in config.get("rpc_metadata") or ():
        yield f"TEMPORAL_GRPC_META_{name.upper().replace('-', '_')}", HIDDEN


def _shown_tls(tls: Any) -> Iterator[str]:
    yield "on"
    if getattr(tls, "client_cert", None):
        yield "with a client certificate"
    if getattr(tls, "server_root_ca_cert", None):
        yield "with an authority of its own"
    if domain := getattr(tls, "domain", None):
        yield f"for {domain}"


def shown_url(url: str) -> str:
    """A URL without its user and password; some have a token for a user."""
    parts = urlsplit(url)
    _, at, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{HIDDEN}@{place}" if at else place).geturl()


def shown_database_url(url: str) -> str:
    """Where the database is and as whom it is used: no password, no parameter that may be one."""
    parts = urlsplit(url)
    credentials, at, hosts = parts.netloc.rpartition("@")
    user = credentials.partition(":")[0]
    query = parse_qsl(parts.query, keep_blank_values=True)
    told = [f"{name}={value if name in _HARMLESS else HIDDEN}" for name, value in query]
    return f"{user}{at}{hosts}{parts.path}" + (f"?{'&'.join(told)}" if told else "")


_SECRETS_SHOWN_IN_PART: Mapping[str, Callable[[str], str]] = {
    "database_url": shown_database_url,
    "temporal_proxy": shown_url,
}


def _values(
    model: BaseModel, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], object, bool]]:
    """The path of each setting, its value, and whether that differs from the default."""
    for field_name, field in type(model).model_fields.items():
        value, at = getattr(model, field_name), (*path, field_name)
        if isinstance(value, BaseModel):
            yield from _values(value, at)
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        yield at, value, value != default


def _shown(path: tuple[str, ...], value: object) -> str:
    if isinstance(value, SecretStr):
        show = _SECRETS_SHOWN_IN_PART.get(path[-1])
        return show(value.get_secret_value()) if show else HIDDEN
    if path[-1] == "redact" and isinstance(value, tuple):
        # Who wants a secret cut out may have written it down there.
        return f"{len(value)} expression{'' if len(value) == 1 else 's'}"
    if path[-1] == "codec_endpoint" and isinstance(value, str):
        return shown_url(value)
    if isinstance(value, timedelta):
        return shown_duration(value)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return ", ".join(_shown(path, each) for each in value)
    if isinstance(value, float):
        return f"{value:g}"
    if value is None:
        return "none"
    # Of what else there may be one day, nobody has said yet that it is no secret.
    return str(value) if isinstance(value, str | int | RowFilter) else HIDDEN


def shown_duration(duration: timedelta) -> str:
    """A duration as settings take it: in the largest unit that leaves a whole number."""
    seconds = duration.total_seconds()
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s"


def _sources() -> Mapping[str, str]:
    """Where each variable was found; the first of them wins, as in the settings themselves."""
    sources = {environment_name(path).upper(): toml_file() for path in toml_paths()}
    sources |= dict.fromkeys(_names_in(read_dotenv()), DOTENV)
    return sources | dict.fromkeys(_names_in(os.environ), "environment")


def _names_in(variables: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name.upper() for name in variables)


def _temporal_source(name: str, sources: Mapping[str, str]) -> str | None:
    """Where it is from: for TLS and the like, where any of its parts is from."""
    return next((source for given, source in sources.items() if given.startswith(name)), None)
