"""Connect to Temporal within a time limit: alone, or over a connection that targets share."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
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

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """How a target is connected to Temporal.

    `config` is what `load_config` returns. `max_rps` limits all calls per second, `visibility_rps`
    the list calls among them; 0 is no limit.
    """

    config: Mapping[str, Any]
    max_rps: float
    visibility_rps: float = 0
    #: The target's name; empty if there is only one.
    target: str = ""

    @property
    def namespace(self) -> str:
        """The namespace that is configured, or else Temporal's default."""
        return self.config.get("namespace") or "default"

    @property
    def limited_as(self) -> tuple[str, str]:
        """Targets with the same address and namespace have their limits in common."""
        return str(self.config["target_host"]).lower(), self.namespace


async def connect(
    config: Mapping[str, Any],
    max_rps: float,
    visibility_rps: float = 0,
    runtime: Runtime | None = None,
) -> tuple[Rpc, Namespace]:
    """Connect and describe the namespace, in ten seconds at most; for the arguments see `Route`.

    Raises `TemporalUnusable`, or `ConfigurationError` for settings that no server accepts.

    Every call carries `caller-type: preemptable`, so that the server's history and persistence
    tiers serve everyone else first (server 1.28 to 1.32; ignored elsewhere).
    """
    route = Route(config, max_rps, visibility_rps)
    link = _Link(config, runtime)
    try:
        return await link.reach(route.namespace, Limits([route]))
    except BaseException:
        link.drop()
        raise


class Connections:
    """The connections to Temporal of all targets of a process.

    Targets whose settings differ in nothing but the namespace share one. Those of one namespace
    share its rate limits, whatever else differs: the lowest counts, whether or not its target is
    connected. The limits outlive connections, so that to connect again is no way around them.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        """`routes`: those of all targets. Logs where their limits differ."""
        together: dict[tuple[str, str], list[Route]] = {}
        for route in routes:
            together.setdefault(route.limited_as, []).append(route)
        self._limits = {pair: Limits(each) for pair, each in together.items()}
        self._links: list[_Link] = []

    @asynccontextmanager
    async def open(
        self, route: Route, runtime: Runtime | None = None
    ) -> AsyncIterator[tuple[Rpc, Namespace]]:
        """As `connect`, but shared. The last user's end is the connection's, too."""
        link = self._link(route.config, runtime)
        link.users += 1
        try:
            yield await link.reach(route.namespace, self.limits(route))
        finally:
            link.users -= 1
            if not link.users:
                self._links.remove(link)
                link.drop()

    def limits(self, route: Route) -> Limits:
        """The limits that this target shares with the others of its namespace."""
        return self._limits[route.limited_as]

    def _link(self, config: Mapping[str, Any], runtime: Runtime | None) -> _Link:
        wanted = _Link(config, runtime)
        for link in self._links:
            if link.is_like(wanted):
                return link
        self._links.append(wanted)
        return wanted


class Limits:
    """The rate limits of a namespace, for this many targets in it."""

    def __init__(self, routes: list[Route]) -> None:
        self.targets = len(routes)
        lists = _lowest("RECONCILER_VISIBILITY_RPS", {r.target: r.visibility_rps for r in routes})
        calls = _lowest("RECONCILER_MAX_RPS", {r.target: r.max_rps for r in routes})
        self.calls, self.lists = RateLimiter(calls), RateLimiter(lists, floor=LIST_FLOOR_RPS)


def _lowest(setting: str, by_target: Mapping[str, float]) -> float:
    """The lowest limit, 0 if there is none; logged if it is not everyone's."""
    lowest = min(by_target.values(), key=lambda rps: rps or math.inf)
    if len(set(by_target.values())) > 1:
        log.warning(
            "limits_differ",
            hint="these targets share a namespace, and so the lowest limit",
            setting=setting,
            in_force=lowest,
            targets=", ".join(f"{name} {rps:g}" for name, rps in by_target.items()),
        )
    return lowest


class _Link:
    """A connection that is opened by its first user; the others wait for the same attempt."""

    def __init__(self, config: Mapping[str, Any], runtime: Runtime | None) -> None:
        arguments = {key: value for key, value in config.items() if key != "namespace"}
        self._key_file: KeyFile | None = arguments.pop("key_file", None)
        if self._key_file is not None:
            arguments.pop("api_key", None)  # read again before it is used
        self._arguments, self._runtime = arguments, runtime or quiet_runtime()
        self._endpoint = Endpoint(config["target_host"], config.get("http_connect_proxy_config"))
        self._attempt: asyncio.Task[Client] | None = None
        self.users = 0

    def is_like(self, other: _Link) -> bool:
        """Whether it leads to the same place with the same rights."""
        mine, others = self._key_file and self._key_file.path, other._key_file
        return (
            self._arguments == other._arguments
            and mine == (others and others.path)
            and self._runtime is other._runtime
        )

    async def reach(self, namespace: str, limits: Limits) -> tuple[Rpc, Namespace]:
        """Connect, unless that is done, and describe the namespace."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT.total_seconds()):
                service = (await self._connected()).service_client
                client = Client(service, namespace=namespace)
                rpc = Rpc(client, limits.calls, self._key_file, list_limiter=limits.lists)
                rpc.sharers = limits.targets
                asking = rpc.prioritized()  # the calls of other targets may wait for long
                described = await asking.describe_namespace()
                rpc.ended_calls.update(asking.ended_calls)
                return rpc, described
        except TimeoutError as error:
            raise TemporalUnusable(
                f"Temporal at {self._endpoint} did not answer within "
                f"{CONNECT_TIMEOUT.total_seconds():g} s",
                self._endpoint.fix,
            ) from error
        except (RuntimeError, ValueError) as error:  # all that the SDK raises
            raise self._endpoint.explain_connect_error(error) from error

    async def _connected(self) -> Client:
        attempt = self._attempt
        if attempt is None or _has_failed(attempt):
            attempt = self._attempt = asyncio.create_task(self._connect())
        return await asyncio.shield(attempt)

    async def _connect(self) -> Client:
        arguments = dict(self._arguments)
        if self._key_file is not None:  # a loop may have waited for the server for long
            arguments["api_key"] = self._key_file.current(force=True)
        arguments["rpc_metadata"] = {**arguments.get("rpc_metadata", {}), **_PREEMPTABLE}
        arguments["identity"] = f"reconciler@{socket.gethostname()}"
        # Of its own: those who wait for it come and go.
        async with asyncio.timeout(CONNECT_TIMEOUT.total_seconds()):
            client = await Client.connect(**arguments, runtime=self._runtime)
        if self._key_file is not None:
            self._key_file.on_change = client.service_client.update_api_key
        return client

    def drop(self) -> None:
        """Forget the connection, or give up connecting. The SDK closes what nobody refers to."""
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt.add_done_callback(_retrieve)
        if self._key_file is not None:
            self._key_file.on_change = None


_PREEMPTABLE = {"caller-type": "preemptable"}


def _has_failed(attempt: asyncio.Task[Client]) -> bool:
    return attempt.done() and (attempt.cancelled() or attempt.exception() is not None)


def _retrieve(attempt: asyncio.Task[Client]) -> None:
    """Keep asyncio from logging an error that nobody waits for any more."""
    if not attempt.cancelled():
        attempt.exception()
