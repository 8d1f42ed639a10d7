"""One connection to Temporal, within a time limit, and what has to be known about it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.runtime import Runtime

from reconciler.core.errors import ConfigurationError, ReconcilerError, TemporalUnusable
from reconciler.temporal.client.connect_errors import Route, are_settings_unusable, last_sentence
from reconciler.temporal.client.namespace import Namespace, describe_namespace
from reconciler.temporal.client.rate_limiter import LIST_FLOOR_RPS, RateLimiter
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.client.runtime import quiet_runtime
from reconciler.temporal.config.api_key import KeyFile

#: From the first packet to an answered call. The SDK's own time limit covers TCP only, so that a
#: peer that accepts and stays silent would hang it (SDK 1.35).
CONNECT_TIMEOUT = timedelta(seconds=10)


async def connect(
    config: Mapping[str, Any],
    max_rps: float,
    visibility_rps: float = 0,
    runtime: Runtime | None = None,
) -> tuple[Rpc, Namespace]:
    """Connect and describe the namespace, in ten seconds at most.

    `config` is what `load_config` returns; the rates are calls per second, 0 for no limit: of all
    kinds, and of those that ask visibility. Raises `TemporalUnusable`, or `ConfigurationError` for
    settings that no server accepts.

    Every call carries `caller-type: preemptable`, by which the server's history and persistence
    tiers put us behind everyone else (server 1.28 to 1.32; ignored elsewhere).
    """
    arguments = dict(config)
    key_file: KeyFile | None = arguments.pop("key_file", None)
    if key_file is not None:  # we may have waited for long for the server
        arguments["api_key"] = key_file.renewed(at_once=True)
    arguments["rpc_metadata"] = {**config.get("rpc_metadata", {}), "caller-type": "preemptable"}
    arguments["identity"] = f"reconciler@{socket.gethostname()}"
    route = Route(config["target_host"], config.get("http_connect_proxy_config"))
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT.total_seconds()):
            client = await Client.connect(**arguments, runtime=runtime or quiet_runtime())
            if key_file is not None:
                key_file.on_change = client.service_client.update_api_key
            lists = RateLimiter(visibility_rps, floor=LIST_FLOOR_RPS)
            rpc = Rpc(client, RateLimiter(max_rps), key_file, list_limiter=lists)
            return rpc, await describe_namespace(rpc)
    except TimeoutError as error:
        raise TemporalUnusable(
            f"Temporal at {route} did not answer within {CONNECT_TIMEOUT.total_seconds():g} s",
            route.fix,
        ) from error
    except (RuntimeError, ValueError) as error:  # all that the SDK raises
        raise _explain(error, route) from error


def _explain(error: RuntimeError | ValueError, route: Route) -> ReconcilerError:
    text = str(error)
    if isinstance(error, ValueError) or are_settings_unusable(text):
        return ConfigurationError(
            f"Temporal at {route} cannot be reached with these settings ({last_sentence(text)}): "
            "check TEMPORAL_* and temporal.toml"
        )
    return route.explain(text)
