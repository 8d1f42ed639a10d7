"""Temporal's own settings: TEMPORAL_* variables, and the same as keys of `reconciler.toml`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.core.errors import ConfigurationError
from reconciler.settings.sources import (
    RawSetting,
    check_quotes,
    read_dotenv,
    read_environment,
    read_settings,
)

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


def temporal_name(key: str) -> str | None:
    """The variable that a key of `reconciler.toml` stands for; None if it is none of Temporal's."""
    name = key.upper()
    return name if name in _NAMES or name.startswith(f"{_PREFIX}GRPC_META_") else None


def temporal_environment(target: str = "") -> Mapping[str, str]:
    """The TEMPORAL_* variables of a target, for Temporal's own code.

    The target's section wins over the environment, which wins over `.env` and the rest of
    `reconciler.toml`. A target that names a profile takes nothing from elsewhere that a profile
    may hold: neither the address nor the key of another cluster. No other variables, because
    Temporal's code takes only text, and a variable can be any bytes. Raises `ConfigurationError`.
    """
    found = read_environment()
    ours = {name: value for name, value in found.items() if name.startswith(_PREFIX)}
    for name, value in ours.items():
        check_quotes(name, value)
    in_dotenv = {
        name: value
        for name, value in read_dotenv().items()
        if value is not None and name.startswith(_PREFIX)
    }
    keys = [each for each in read_settings(target) if each.is_key and temporal_name(each.name)]
    own = _values(each for each in keys if each.target)
    outside = {**_values(each for each in keys if not each.target), **in_dotenv, **ours}
    if _PROFILE in own:
        outside = {name: value for name, value in outside.items() if name == _CONFIG_FILE}
    return {**outside, **own}


def _values(keys: Iterable[RawSetting]) -> Mapping[str, str]:
    values = {}
    for each in keys:
        value = each.value
        if isinstance(value, bool):
            value = str(value).lower()
        if not isinstance(value, str) or not (name := temporal_name(each.name)):
            raise ConfigurationError(f"{each}: must be text in quotes")
        values[name] = value
    return values
