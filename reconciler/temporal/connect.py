"""One connection to Temporal, within a time limit, and what has to be known about it."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.runtime import Runtime

from reconciler.core.text import one_line
from reconciler.errors import ConfigurationError, TemporalUnusable
from reconciler.temporal.limiter import RateLimiter
from reconciler.temporal.namespace import Namespace, describe_namespace
from reconciler.temporal.rpc import Rpc
from reconciler.temporal.runtime import quiet_runtime

#: From the first packet to an answered call. The SDK's own time limit covers TCP only, so that a
#: peer that accepts and stays silent would hang it (SDK 1.35).
CONNECT_TIMEOUT = timedelta(seconds=10)


def load_config(environment: Mapping[str, str]) -> dict[str, Any]:
    """Temporal's own settings (TEMPORAL_* and temporal.toml) as arguments of `Client.connect`.

    Raises `ConfigurationError`. There is no default address: a daemon that guesses localhost in
    production would find every workflow missing.
    """
    try:
        config = dict(
            ClientConfig.load_client_connect_config(
                config_file_strict=True, override_env_vars=dict(environment)
            )
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"Temporal's settings (TEMPORAL_*, temporal.toml): {_without_excerpt(error)}"
        ) from None
    if not config.get("target_host"):
        raise ConfigurationError(
            "TEMPORAL_ADDRESS is not set: give Temporal's host:port, or a TEMPORAL_PROFILE"
        )
    return config


async def connect(
    config: Mapping[str, Any], max_rps: float, runtime: Runtime | None = None
) -> tuple[Rpc, Namespace]:
    """Connect and describe the namespace, in ten seconds at most.

    Raises `TemporalUnusable`, or `ConfigurationError` for settings that make no sense.

    Every call carries `caller-type: preemptable`, by which the server's history and persistence
    tiers put us behind everyone else (server 1.28 to 1.32; ignored elsewhere).
    """
    target = config["target_host"]
    arguments = dict(config)
    arguments["rpc_metadata"] = {**config.get("rpc_metadata", {}), "caller-type": "preemptable"}
    arguments["identity"] = f"reconciler@{socket.gethostname()}"
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT.total_seconds()):
            client = await Client.connect(**arguments, runtime=runtime or quiet_runtime())
            rpc = Rpc(client, RateLimiter(max_rps))
            return rpc, await describe_namespace(rpc)
    except TimeoutError as error:
        raise TemporalUnusable(
            f"Temporal at {target} did not answer within "
            f"{CONNECT_TIMEOUT.total_seconds():.0f} s: check TEMPORAL_ADDRESS"
        ) from error
    except RuntimeError as error:  # the SDK's word for refused, no such host, TLS mismatch
        raise TemporalUnusable(
            f"Temporal at {target} is unreachable ({_reason(error)}): "
            "check TEMPORAL_ADDRESS and TEMPORAL_TLS_*"
        ) from error
    except ValueError as error:
        raise ConfigurationError(
            f"Temporal's settings (TEMPORAL_ADDRESS is {target!r}): {one_line(str(error), 300)}"
        ) from error


def _without_excerpt(error: Exception) -> str:
    """The message without the lines of the file it quotes: they may hold the API key."""
    lines = [line for line in str(error).splitlines() if "|" not in line]
    return one_line(" ".join(lines) or "cannot be read", 300)


def _reason(error: RuntimeError) -> str:
    """The sentence for people inside the SDK's nest of Rust errors, if there is one."""
    sentences = re.findall(r'(?:message|error): "([^"]+)"', str(error))
    whole = str(error).removeprefix("Failed client connect: ")
    return one_line(sentences[-1] if sentences else whole, 300)
