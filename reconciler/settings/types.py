"""The types of settings, and how each is parsed. Errors never repeat a secret."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from reconciler.core.window import Moment

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zµ]+)")
_AGE_UNITS = _UNITS | {"w": 7 * 86400}
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
MAX_PORT = 65535
_IGNORED = re.compile(r"RECONCILER_\w+\*?", re.ASCII)
_HOST_PORT = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[\w.-]+):(\d{1,5})", re.ASCII)


def parse_duration(value: object) -> timedelta:
    """`30`, `30s`, `5m`, `2h` or `7d` as a timedelta; a bare number is seconds."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(str(value).strip().lower())
    if match is None:
        raise ValueError("must be a number of seconds, or a duration such as 30s, 5m, 2h, 7d")
    try:
        return timedelta(seconds=float(match[1]) * _UNITS[match[2] or "s"])
    except OverflowError:
        raise ValueError("is too long") from None


def format_duration(duration: timedelta) -> str:
    """A duration as `parse_duration` reads it, in the largest unit that leaves a whole number."""
    seconds = duration.total_seconds()
    fitting = [unit for unit, length in _UNITS.items() if seconds and seconds % length == 0]
    unit = fitting[-1] if fitting else "s"
    return f"{seconds / _UNITS[unit]:g}{unit}"


def parse_moment(text: str) -> Moment:
    """A point in time: a timestamp, UTC if it names no zone, or an age such as `90d`.

    Raises `ValueError` with what is accepted.
    """
    age = _AGE.fullmatch(text.strip().lower())
    try:
        if age is not None:
            length = timedelta(seconds=float(age[1]) * _AGE_UNITS[age[2]])
            Moment(text, length).by(_ANY_TIME)  # the calendar begins with year 1
            return Moment(text, length)
        moment = datetime.fromisoformat(text.strip())
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return Moment(text, moment.astimezone(UTC))
    except (KeyError, ValueError, OverflowError):
        raise ValueError(
            "must be a timestamp such as 2026-01-31T12:00:00Z or 2026-01-31, "
            "or an age such as 90d, 12w, 36h, 30m, 10s"
        ) from None


def parse_time_zone(name: object) -> object:
    """A name of IANA's database, in its spelling; None if it is empty.

    Not checked if this host has no copy of that database.
    """
    if not isinstance(name, str) or not name:
        return name or None
    known = available_timezones()
    if known and name not in known:
        alike = [each for each in known if each.lower() == name.lower()]
        raise ValueError(f"must be a time zone, such as {alike[0] if alike else 'Europe/Berlin'}")
    return name


def is_secret(annotation: Any) -> bool:
    """Whether settings of this type are never shown."""
    return annotation is SecretStr or any(map(is_secret, get_args(annotation)))


def parse_switch(value: object) -> object:
    """`on` or `off`, or a boolean of TOML."""
    known = {"on": True, "off": False}
    if isinstance(value, bool):
        return value
    if (word := str(value).strip().lower()) not in known:
        raise ValueError("must be on or off")
    return known[word]


def parse_proxy_url(value: object) -> str:
    """The URL of an HTTP proxy. Errors never repeat it: it may hold a password."""
    url = _text(value).removesuffix("/")
    login, _, place = url.removeprefix("http://").rpartition("@")
    match = _HOST_PORT.fullmatch(place)
    if not url.startswith("http://") or match is None or int(match[1]) > MAX_PORT:
        raise ValueError("must look like http://[user:password@]host:port")
    if set(login) & set("@/?#[]") or not login.isascii() or not login.isprintable():
        raise ValueError("has special characters in user or password: percent-encode them")
    return url


def _text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def check_not_blank(value: SecretStr) -> SecretStr:
    """A secret that is not empty."""
    if not value.get_secret_value().strip():
        raise ValueError("must not be empty")
    return value


def check_http_url(value: str, example: str) -> str:
    """The base of http(s) URLs. Errors never repeat it: it may contain secrets."""
    try:
        parts = urlsplit(value)
        port = parts.port or 0
    except ValueError:
        raise ValueError(f"must look like {example}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not 0 <= port <= MAX_PORT:
        raise ValueError(f"must look like {example}")
    if parts.query or parts.fragment or not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ValueError(
            "must be a URL without a query, a fragment or characters that need encoding"
        )
    return value


def check_rate(value: float) -> float:
    """0 for no limit, or at least 1: a slower pass would seem to hang."""
    if value != 0 and not value >= 1:
        raise ValueError("must be 0, for no limit, or at least 1")
    return value


def parse_ignored(value: object) -> tuple[str, ...]:
    """`RECONCILER_JOB_QUEUE,RECONCILER_OLD_*` as a tuple, in capitals."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(each, str) for each in names):
        raise ValueError("must be names, separated by commas")
    ignored = tuple(name for each in names if (name := each.strip().upper()))
    if wrong := next((each for each in ignored if not _IGNORED.fullmatch(each)), None):
        raise ValueError(
            f"must be names such as RECONCILER_JOB_QUEUE, or RECONCILER_JOB_* (it names {wrong!r})"
        )
    return ignored


def between(shortest: str, longest: str, *, or_zero: bool = False) -> AfterValidator:
    """A validator of durations, whose bounds are written as `parse_duration` reads them."""

    def check(value: timedelta) -> timedelta:
        is_off = or_zero and not value
        if not is_off and not parse_duration(shortest) <= value <= parse_duration(longest):
            bounds = f"must be at least {shortest} and at most {longest}"
            raise ValueError(f"{bounds}, or 0 for never" if or_zero else bounds)
        return value

    return AfterValidator(check)


def none_if_empty(value: object) -> object:
    """An empty name means that there is no such column."""
    return None if value == "" else value


def contradiction(reason: str, *parts: str) -> PydanticCustomError:
    """The error for parts of a section that contradict each other."""
    return PydanticCustomError("contradiction", "{reason}", {"reason": reason, "parts": parts})


#: The name of a column, or a value of the status column.
Name = Annotated[str, Field(min_length=1, max_length=63)]
TimeZone = Annotated[str | None, BeforeValidator(parse_time_zone)]
Ignored = Annotated[tuple[str, ...], BeforeValidator(parse_ignored)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
ProxyUrl = Annotated[SecretStr, BeforeValidator(parse_proxy_url)]
Rate = Annotated[float, AfterValidator(check_rate)]
Switch = Annotated[bool, BeforeValidator(parse_switch)]
Port = Annotated[int, Field(ge=0, le=MAX_PORT)]
