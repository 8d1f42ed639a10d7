"""Temporal's own settings: TEMPORAL_* variables, and the same as keys of `reconciler.toml`."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.core.errors import ConfigurationError
from reconciler.settings.sources import ENVIRONMENT, RawSetting, check_quotes, read_settings

_PREFIX = "TEMPORAL_"
_PROFILE, _CONFIG_FILE = f"{_PREFIX}PROFILE", f"{_PREFIX}CONFIG_FILE"
_NAMES = frozenset(
    _PREFIX + name
    for name in (
        *("ADDRESS", "NAMESPACE", "PROFILE", "CONFIG_FILE", "API_KEY", "API_KEY_FILE"),
        *("TLS", "TLS_SERVER_NAME", "TLS_DISABLE_HOST_VERIFICATION"),
        *("TLS_SERVER_CA_CERT_PATH", "TLS_SERVER_CA_CERT_DATA"),
        *("TLS_CLIENT_CERT_PATH", "TLS_CLIENT_CERT_DATA"),
        *("TLS_CLIENT_KEY_PATH", "TLS_CLIENT_KEY_DATA"),
    )
)
#: Values of TOML that need no quotes.
_SWITCHES = (f"{_PREFIX}TLS", f"{_PREFIX}TLS_DISABLE_HOST_VERIFICATION")
_GRPC_META = f"{_PREFIX}GRPC_META_"
#: Each excludes the other.
_PAIRS = (
    ("API_KEY", "API_KEY_FILE"),
    *((f"TLS_{part}_PATH", f"TLS_{part}_DATA") for part in ("SERVER_CA_CERT", "CLIENT_CERT")),
    ("TLS_CLIENT_KEY_PATH", "TLS_CLIENT_KEY_DATA"),
)
_OTHER = {_PREFIX + a: _PREFIX + b for pair in _PAIRS for a, b in (pair, pair[::-1])}
#: The keys of `reconciler.toml`, without those for gRPC's metadata.
KEYS = frozenset(name.lower() for name in _NAMES)


def temporal_name(key: str) -> str | None:
    """The variable that a key of `reconciler.toml` stands for; None if it is none of Temporal's."""
    meta = _GRPC_META.lower()
    is_known = key in KEYS or (key == key.lower() and key.startswith(meta) and key != meta)
    return key.upper() if is_known else None


def temporal_environment(target: str = "") -> Mapping[str, str]:
    """The TEMPORAL_* variables of a target, for Temporal's own code.

    No other variables, because that code takes only text, and a variable can be any bytes. Raises
    `ConfigurationError`.
    """
    return {name: _text(given) for name, given in temporal_settings(target).items()}


def temporal_settings(target: str = "") -> Mapping[str, RawSetting]:
    """The same with the place of each.

    The target's section wins over the environment, which wins over `.env` and the rest of
    `reconciler.toml`. A target that names a profile takes nothing from elsewhere that a profile
    may hold: neither the address nor the key of another cluster.
    """
    own: dict[str, RawSetting] = {}
    outside: dict[str, RawSetting] = {}
    for each in read_settings(target):
        name = temporal_name(each.name) if each.is_key else each.name
        if name is None or each.value is None or not name.startswith(_PREFIX):
            continue
        if each.place == ENVIRONMENT:
            check_quotes(each.name, each.value)
        (own if each.target else outside).setdefault(name, each)
    kept = {_CONFIG_FILE} if _PROFILE in own else outside.keys() - {_OTHER.get(n) for n in own}
    return {**{name: each for name, each in outside.items() if name in kept}, **own}


def check_type(given: RawSetting) -> None:
    """Check one of Temporal's keys. Raises `ConfigurationError`, without the value."""
    _text(given)


def _text(given: RawSetting) -> str:
    """The value as that of a variable."""
    value = given.value
    may_be_switch = given.is_key and temporal_name(given.name) in _SWITCHES
    if may_be_switch and isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        must = "must be true or false" if may_be_switch else "must be text in quotes"
        raise ConfigurationError(f"{given}: {must}")
    return value
