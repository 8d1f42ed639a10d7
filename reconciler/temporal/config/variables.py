"""Temporal's own variables in the environment: which there are, and typos in them.

Temporal's code reads what it knows and ignores the rest, so that a certificate whose variable is
misspelt is a connection without it, and a misspelt namespace is `default`. Other variables that
begin with TEMPORAL_ belong to other programs and are left alone.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

from reconciler.core.errors import ConfigurationError

PREFIX = "TEMPORAL_"
#: Ours: Temporal's own code does not know it. See `api_key`.
API_KEY_FILE = "TEMPORAL_API_KEY_FILE"
_TLS = "TEMPORAL_TLS_"
_SWITCH = "TEMPORAL_TLS"
_SWITCHES = ("true", "1", "false", "0")
_UNVERIFIED = "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION"

_KNOWN = (
    "TEMPORAL_ADDRESS",
    "TEMPORAL_NAMESPACE",
    "TEMPORAL_API_KEY",
    API_KEY_FILE,
    "TEMPORAL_PROFILE",
    "TEMPORAL_CONFIG_FILE",
    _SWITCH,
    "TEMPORAL_TLS_SERVER_NAME",
    "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    "TEMPORAL_TLS_SERVER_CA_CERT_DATA",
    "TEMPORAL_TLS_CLIENT_CERT_PATH",
    "TEMPORAL_TLS_CLIENT_CERT_DATA",
    "TEMPORAL_TLS_CLIENT_KEY_PATH",
    "TEMPORAL_TLS_CLIENT_KEY_DATA",
)
# The names that Temporal's command line has had for them.
_FORMER = {
    "TEMPORAL_TLS_CA": "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    "TEMPORAL_TLS_CERT": "TEMPORAL_TLS_CLIENT_CERT_PATH",
    "TEMPORAL_TLS_KEY": "TEMPORAL_TLS_CLIENT_KEY_PATH",
    "TEMPORAL_CLI_ADDRESS": "TEMPORAL_ADDRESS",
    "TEMPORAL_CLI_NAMESPACE": "TEMPORAL_NAMESPACE",
}
# What Kubernetes says of Services called temporal-something.
_SERVICE_LINK = re.compile(r".*(_SERVICE_(HOST|PORT(_\w+)?)|_PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
#: Nearer than this to a name that exists, it is a typo and not another program's.
_NEAR = 0.9


def check_variables(environment: Mapping[str, str]) -> None:
    """Raise `ConfigurationError` with every mistake; none of them repeats a value."""
    if mistakes := list(_mistakes(environment)):
        raise ConfigurationError("; ".join(mistakes))


def _mistakes(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if name in _KNOWN:
            if not value.strip():
                yield f"{name} is empty: set it, or remove it"
            elif name == _SWITCH and value.lower() not in _SWITCHES:
                # Temporal's code takes any other word for true: off, no, disabled.
                yield f"{name} must be true or false"
        elif name == _UNVERIFIED:
            if value.lower() not in ("", "false", "0"):
                yield f"{name}: certificates are always verified here: remove it"
        elif name.startswith(PREFIX) and not _SERVICE_LINK.fullmatch(name):
            yield from _unknown(name, environment)
    if "TEMPORAL_API_KEY" in environment and API_KEY_FILE in environment:
        yield f"TEMPORAL_API_KEY and {API_KEY_FILE} are both set: remove one of them"


def _unknown(name: str, environment: Mapping[str, str]) -> Iterator[str]:
    """A complaint, if the name is not another program's."""
    meant = _meant(name)
    # Where the right one is set too, the other was not meant for us, or does no harm.
    if meant is not None and meant not in environment:
        yield f"{name}: there is no such variable, did you mean {meant}?"
    elif name.startswith(_TLS):
        yield f"{name}: there is no such variable: see TEMPORAL_TLS_* in docs/temporal.md"


def _meant(name: str) -> str | None:
    if name in _FORMER:
        return _FORMER[name]
    cutoff = 0.75 if name.startswith(_TLS) else _NEAR
    near = difflib.get_close_matches(name, _KNOWN, n=1, cutoff=cutoff)
    # TEMPORAL_API_KEY_ID is another program's, TEMPORAL_API_KEY_FIEL is not.
    return near[0] if near and not name.startswith(f"{near[0]}_") else None
