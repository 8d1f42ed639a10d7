"""uvicorn in the daemon's own loop, on a socket that was bound beforehand."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import h11
import structlog
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from reconciler.errors import ConfigurationError

#: Seconds that a connection may live: Prometheus and probes come again, and who sends half a
#: request and waits must not keep others out for as long as a probe may fail.
CONNECTION_TIME = 10.0
#: Connections at a time; more are told so (503).
CONNECTIONS = 256

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def serving(web: Starlette, host: str, port: int) -> AsyncIterator[None]:
    """Serve while the context lasts. Raises `ConfigurationError` if the address cannot be had."""
    listening = _bind(host, port)
    config = uvicorn.Config(
        web,
        http=_ShortLived,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_worth_a_line)
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    bound_host, bound_port = listening.getsockname()[:2]
    log.info("listening", host=bound_host, port=bound_port)
    try:
        yield
    finally:
        server.should_exit = True
        await task


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # :: is everybody, as 0.0.0.0 is; a check from inside asks 127.0.0.1.
        everybody = address[0] == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(
            address[:2], family=family, backlog=CONNECTIONS, dualstack_ipv6=everybody
        )
    except OSError as error:
        # asyncio's and Python's own words repeat the address.
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror
        raise ConfigurationError(
            f"cannot listen on {host}, port {port} ({reason}): "
            "set RECONCILER_HTTP_HOST and RECONCILER_HTTP_PORT"
        ) from None


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Not what a scanner can bring about: requests that break off where the answer is due."""
    error = record.exc_info and record.exc_info[1]
    return not isinstance(error, h11.ProtocolError)


class _Server(uvicorn.Server):
    """Leaves the signals to the daemon."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _ShortLived(H11Protocol):
    """Hangs up after a while, whatever the peer does or leaves undone."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._end = self.loop.call_later(CONNECTION_TIME, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
        super().connection_lost(exc)
