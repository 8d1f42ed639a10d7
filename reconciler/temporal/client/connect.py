"""Connect to Temporal within a time limit."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.runtime import Runtime

from reconciler.core.errors import TemporalUnusable
from reconciler.temporal.client.connect_errors import Endpoint
from reconciler.temporal.client.namespace import Namespace
from reconciler.temporal.client.rate_limiter import LIST_FLOOR_RPS, RateLimiter
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.client.runtime import quiet_runtime
from reconciler.temporal.config.api_key import KeyFile

#: From the first packet to an answered call. The SDK's own time limit covers TCP only: it would
#: hang on a peer that accepts and stays silent (SDK 1.35).
CONNECT_TIMEOUT = timedelta(seconds=10)


async def connect(
    config: Mapping[str, Any],
    max_rps: float,
    visibility_rps: float = 0,
    runtime: Runtime | None = None,
) -> tuple[Rpc, Namespace]:
    """Connect and describe the namespace, in ten seconds at most.

    `config` is what `load_config` returns. `max_rps` limits all calls per second, `visibility_rps`
    the list calls among them; 0 is no limit. Raises `TemporalUnusable`, or `ConfigurationError`
    for settings that no server accepts.

    Every call carries `caller-type: preemptable`, so that the server's history and persistence
    tiers serve everyone else first (server 1.28 to 1.32; ignored elsewhere).
    """
    arguments = dict(config)
    key_file: KeyFile | None = arguments.pop("key_file", None)
    if key_file is not None:  # a loop may have waited for the server for long
        arguments["api_key"] = key_file.current(force=True)
    arguments["rpc_metadata"] = {**config.get("rpc_metadata", {}), "caller-type": "preemptable"}
    arguments["identity"] = f"reconciler@{socket.gethostname()}"
    endpoint = Endpoint(config["target_host"], config.get("http_connect_proxy_config"))
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT.total_seconds()):
            client = await Client.connect(**arguments, runtime=runtime or quiet_runtime())
            if key_file is not None:
                key_file.on_change = client.service_client.update_api_key
            lists = RateLimiter(visibility_rps, floor=LIST_FLOOR_RPS)
            rpc = Rpc(client, RateLimiter(max_rps), key_file, list_limiter=lists)
            return rpc, await rpc.describe_namespace()
    except TimeoutError as error:
        raise TemporalUnusable(
            f"Temporal at {endpoint} did not answer within {CONNECT_TIMEOUT.total_seconds():g} s",
            endpoint.fix,
        ) from error
    except (RuntimeError, ValueError) as error:  # all that the SDK raises
        raise endpoint.explain_connect_error(error) from error
