"""The database's URL, in the form in which the driver takes it.

A secret is often shared with clients in other languages, whose URLs name a driver, or have
parameters that mean nothing here. The driver would send what it does not know to the server as
settings. So each parameter is honoured, or rejected by name: one that is dropped may be what keeps
a connection safe. Errors never repeat a value.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from pydantic import BeforeValidator, SecretStr

from reconciler.postgres.connection.socket_options import LIMITS
from reconciler.settings.types import MAX_PORT

_FORM = "postgresql://user:password@host:5432/database"
# With any driver of SQLAlchemy's, and under the names that Django and Rails know.
_SCHEME = re.compile(r"(postgresql|postgres|pgsql|postgis)(\+\w+)?", re.ASCII)
_OTHER = re.compile(r"(mysql|mariadb|sqlite|mssql|oracle|cockroachdb|mongodb|redis)\d?(\+\w+)?")

#: What the driver takes from a URL.
BY_DRIVER = frozenset(
    {
        *("host", "port", "user", "password", "dbname", "database", "passfile", "service"),
        *("sslmode", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl"),
        *("sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version"),
        *("krbsrvname", "gsslib", "target_session_attrs"),
    }
)
#: Settings of the server, which it is sent when a connection starts. So is any with a dot.
_BY_SERVER = frozenset(
    {
        *("application_name", "options", "search_path", "role", "timezone", "datestyle"),
        *("intervalstyle", "statement_timeout", "lock_timeout", "transaction_timeout"),
        *("idle_in_transaction_session_timeout", "idle_session_timeout", "jit", "work_mem"),
        *("default_transaction_isolation", "default_transaction_read_only"),
    }
)
#: Parameters with the values that describe what is done anyway.
_AS_IS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "channel_binding": ("disable", "prefer"),
        "gssencmode": ("disable", "prefer"),
        "client_encoding": ("utf8", "utf-8", "unicode"),
        "sslcompression": ("0",),
        "sslsni": ("1",),
        "load_balance_hosts": ("disable",),
    }
)
#: Parameters of SQLAlchemy's and the driver's own, which the reconciler sets.
_SET_HERE = frozenset(
    {
        *("prepared_statement_cache_size", "prepared_statement_name_func"),
        *("statement_cache_size", "async_fallback"),
    }
)
#: The driver's own names for parameters of libpq.
_ALIASES: Mapping[str, str] = MappingProxyType({"ssl": "sslmode"})
#: Parameters with few values.
_CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
        "target_session_attrs": (
            *("any", "primary", "standby", "prefer-standby", "read-write", "read-only"),
        ),
    }
)
_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
_SAFE = "use sslmode=verify-full to be sure of the server"
#: What to do in place of a parameter that is rejected.
_INSTEAD: Mapping[str, str] = MappingProxyType(
    {
        "schema": "a schema goes into RECONCILER_TABLE",
        "currentSchema": "a schema goes into RECONCILER_TABLE",
        "channel_binding": f"disable and prefer are; {_SAFE}",
        "require_auth": _SAFE,
        "gssencmode": "disable and prefer are",
        "client_encoding": "utf8 is",
        "sslaccept": "sslmode=verify-full is strict",
        "sslidentity": "use sslcert and sslkey",
        "sslcrldir": "use sslcrl",
        "hostaddr": "use the address as the host",
        "servicefile": "set PGSERVICEFILE",
    }
)
_NAME = re.compile(r"[a-z_][\w.]{0,62}", re.ASCII | re.IGNORECASE)


def parse_database_url(value: object) -> str:
    """A PostgreSQL URL in the form that `open_engine` takes.

    Raises `ValueError`, which never repeats any of it but names of parameters: it holds secrets.
    """
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    scheme, _, rest = text.strip().partition("://")
    scheme = scheme.strip().lower()
    if other := _OTHER.fullmatch(scheme):
        raise ValueError(f"is a URL of {other[1]}, and must be one of PostgreSQL: {_FORM}")
    if not _SCHEME.fullmatch(scheme) or not rest:
        raise ValueError(f"must look like {_FORM}")
    # A split in the wrong place could put part of a password into an error.
    try:
        parts = urlsplit(f"postgresql://{rest}")
    except ValueError:  # its text quotes what may be a password
        raise ValueError(
            "has special characters in user, password or host: percent-encode them"
        ) from None
    login, _, hosts = parts.netloc.rpartition("@")
    if "@" in login + parts.path + parts.query or parts.fragment or "[" in login:
        raise ValueError("has special characters in user or password: percent-encode them")
    places = [_split_host(each) for each in hosts.split(",")]
    for _, port in places:
        _check_port(port)
    try:
        query = parse_qsl(parts.query, strict_parsing=bool(parts.query), keep_blank_values=True)
    except ValueError:
        raise ValueError("has a query that is not name=value&name=value") from None
    kept = [
        (_ALIASES.get(name, name), value) for name, value in query if not _is_as_is(name, value)
    ]
    if rejected := list(dict.fromkeys(name for name, _ in kept if not _is_known(name))):
        raise ValueError(_not_supported(rejected))
    for name, text in kept:
        _check_value(name, text)
    given = {name for name, text in kept if text}
    _check_once(given, login, parts.path)
    place = parts.netloc
    if hosts and given & {"host", "port"}:
        kept = [*_moved(places, given), *kept]
        place = f"{login}@" if login else ""
    return f"postgresql://{place}{parts.path}" + (f"?{urlencode(kept)}" if kept else "")


def _split_host(text: str) -> tuple[str, str]:
    """A host and its port, either of which may be empty; an address of IPv6 has brackets."""
    address, bracket, rest = text.rpartition("]")
    name, _, port = rest.partition(":")
    return address + bracket + name, port


def _moved(places: Sequence[tuple[str, str]], given: Collection[str]) -> Iterator[tuple[str, str]]:
    """What parameters do not replace, as parameters: to libpq they win, to the driver they lose.

    `localhost/db?host=/cloudsql/…` is a Unix socket.
    """
    if "host" not in given:
        yield "host", ",".join(unquote(host) for host, _ in places)
    if "port" not in given and any(port for _, port in places):
        yield "port", ",".join(port or "5432" for _, port in places)


def _check_once(given: Collection[str], login: str, path: str) -> None:
    """Check that no parameter repeats another part, which the driver would prefer to it."""
    user, _, password = login.partition(":")
    parts = {"user": user, "password": password, "dbname": path[1:], "database": path[1:]}
    if twice := [name for name, part in parts.items() if part and name in given]:
        raise ValueError(f"gives {twice[0]} twice: remove the parameter {twice[0]}")


def _check_port(port: str) -> None:
    if port and not (port.isdecimal() and int(port) <= MAX_PORT):
        raise ValueError("has a port that is not a number from 0 to 65535")


def _is_as_is(name: str, value: str) -> bool:
    """Whether a parameter asks for nothing but what is done anyway."""
    return name in _SET_HERE or value.lower() in _AS_IS.get(name, ())


def _is_known(name: str) -> bool:
    of_server = name.lower() in _BY_SERVER or "." in name
    return name in BY_DRIVER or name in LIMITS or of_server


def _not_supported(names: Sequence[str]) -> str:
    shown = ", ".join(name if _NAME.fullmatch(name) else "(not a name)" for name in names)
    are, them = ("s", "them") if names[1:] else ("", "it")
    hints = dict.fromkeys(_INSTEAD[name] for name in names if name in _INSTEAD)
    text = f"parameter{are} not supported: {shown}: remove {them} from DATABASE_URL"
    return text + (f" ({'; '.join(hints)})" if hints else "")


def _check_value(name: str, value: str) -> None:
    if name in LIMITS:
        lowest, highest = LIMITS[name]
        if not (value.isdecimal() and lowest <= int(value) <= highest):
            raise ValueError(f"has a {name} that is not a number from {lowest} to {highest}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ValueError(f"has an unknown {name}: it is one of {', '.join(_CHOICES[name])}")
    if name == "port":
        for each in value.split(","):
            _check_port(each)
    if name == "sslrootcert" and value == "system":
        raise ValueError(f"has sslrootcert=system: name the file, such as {_ROOTS}")


def databases(url: str, variables: Mapping[str, str]) -> set[tuple[str, str, str]]:
    """Where a parsed URL leads to: host, port and name of each of its places.

    What it does not say is in libpq's `variables`, or libpq's default. Names of the own host count
    as one. What a service (`service=`) names is not read.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    login, _, hosts = parts.netloc.rpartition("@")
    if hosts:
        places = [_split_host(each) for each in hosts.split(",")]
        places = [(unquote(host), port) for host, port in places]
    else:
        named = (query.get("host") or variables.get("PGHOST", "")).split(",")
        given = (query.get("port") or "").split(",")
        ports = given * len(named) if len(given) == 1 else given
        places = list(zip(named, ports, strict=False))
    user = query.get("user") or unquote(login.partition(":")[0]) or variables.get("PGUSER", "")
    name = unquote(parts.path[1:]) or query.get("dbname") or query.get("database")
    name = name or variables.get("PGDATABASE") or user
    port_of = variables.get("PGPORT") or "5432"
    return {(_host(host, query), port.lstrip("0") or port_of, name) for host, port in places}


def _host(text: str, query: Mapping[str, str]) -> str:
    if text.startswith("/"):  # the folder of a Unix socket
        return text.rstrip("/")
    host = text.strip("[]").rstrip(".").lower() or query.get("service", "localhost")
    return "localhost" if host in ("127.0.0.1", "::1") else host


DatabaseUrl = Annotated[SecretStr, BeforeValidator(parse_database_url)]
