"""HTTP connections under load: `/livez` answers, however many connections there are.

At the limit, the connection that has been idle for longest is closed to make room for a new one,
which may be a probe. The limit is a share of the process's descriptors, which leaves enough for
connections to the database and to Temporal.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import time
from collections.abc import Callable
from typing import Any

import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Most connections at a time, and at most one in `SHARE` descriptors.
CONNECTIONS = 256
SHARE = 4
#: An eighth of the limit is accepted per iteration of the event loop. A probe sends its request at
#: once, so it is served before enough others are accepted to make it the oldest.
BATCHES = 8
#: Seconds from the connection to a complete request, and from there until the answer is read.
REQUEST_TIME = 10.0
ANSWER_TIME = 30.0
#: Seconds between two requests. Longer than usual scrape intervals, so that a scrape does not use a
#: connection that is being closed.
IDLE_TIME = 75.0
#: Seconds until the next attempt when out of descriptors, and between two log lines about it.
RETRY_TIME = 0.2
LOG_EVERY = 60.0

log = structlog.get_logger(__name__)


def connection_limit() -> int:
    """The most connections at a time; the process needs descriptors for other things, too."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return CONNECTIONS
    return max(min(CONNECTIONS, descriptors // SHARE), 1)


class Connections:
    """All connections, at most `limit` of them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        # The oldest first. A dict keeps the order and removes in constant time.
        self._idle: dict[Connection, None] = {}
        self._busy: dict[Connection, None] = {}

    def mark_idle(self, connection: Connection) -> None:
        """Count it as idle: it is new, or has been answered."""
        self.remove(connection)
        self._idle[connection] = None

    def mark_busy(self, connection: Connection) -> None:
        """Count it as busy: it waits for an answer."""
        self.remove(connection)
        self._busy[connection] = None

    def remove(self, connection: Connection) -> None:
        """Forget it: it is closed."""
        self._idle.pop(connection, None)
        self._busy.pop(connection, None)

    def make_room(self, room: int) -> None:
        """Close connections until there is room for `room` more."""
        while len(self._idle) + len(self._busy) > max(self.limit - room, 0):
            oldest = next(iter(self._idle or self._busy))
            self.remove(oldest)
            oldest.transport.abort()


class Connection(H11Protocol):
    """Ends when its time is up, whatever the peer does."""

    def __init__(self, connections: Connections, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connections = connections
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for it, if necessary."""
        super().connection_made(transport)
        self._end_in(REQUEST_TIME)
        self._connections.make_room(1)
        self._connections.mark_idle(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove it."""
        if self._end:
            self._end.cancel()
        self._connections.remove(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Count it as busy once a request is complete."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and not self.transport.is_closing():
            self._connections.mark_busy(self)
            self._end_in(ANSWER_TIME)

    def on_response_complete(self) -> None:
        """Count it as idle, unless the next request is complete already."""
        if not self.transport.is_closing():
            self._connections.mark_idle(self)
            self._end_in(IDLE_TIME)
        super().on_response_complete()

    def _end_in(self, seconds: float) -> None:
        if self._end:
            self._end.cancel()
        # Not `close`, which would wait for a peer that does not read.
        self._end = self.loop.call_later(seconds, self.transport.abort)


class Listener:
    """Accepts connections.

    asyncio's own server logs a traceback for each connection in the backlog, every second, while
    there are no descriptors (Python 3.11).
    """

    def __init__(
        self, listening: socket.socket, connections: Connections, make: Callable[[], Connection]
    ) -> None:
        self._listening, self._connections, self._make = listening, connections, make
        self._loop = asyncio.get_running_loop()
        self._entering: set[asyncio.Task[Any]] = set()
        self._logged_at = float("-inf")
        self._closed = False

    def open(self) -> None:
        """Accept connections from now on."""
        if not self._closed:
            self._loop.add_reader(self._listening, self._accept)

    def close(self) -> None:
        """Accept no more connections."""
        self._closed = True
        self._loop.remove_reader(self._listening)
        self._listening.close()

    def _accept(self) -> None:
        for _ in range(max(self._connections.limit // BATCHES, 1)):
            try:
                connection, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._wait(error)
                return  # otherwise the peer has closed the connection
            entering = self._loop.create_task(
                self._loop.connect_accepted_socket(self._make, connection)
            )
            self._entering.add(entering)
            entering.add_done_callback(self._entered)

    def _entered(self, entering: asyncio.Task[Any]) -> None:
        self._entering.discard(entering)
        if not entering.cancelled():
            entering.exception()  # the peer has closed the connection

    def _wait(self, error: OSError) -> None:
        """Close some connections and accept again later: there are no descriptors left."""
        self._connections.make_room(max(self._connections.limit // BATCHES, 1))
        self._loop.remove_reader(self._listening)
        self._loop.call_later(RETRY_TIME, self.open)
        if time.monotonic() - self._logged_at >= LOG_EVERY:
            self._logged_at = time.monotonic()
            log.warning("http_accept_failed", error=error.strerror)
