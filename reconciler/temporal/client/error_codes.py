"""What the error codes of Temporal's answers mean: to the row, to the pass, to the rate.

| answer | means |
|---|---|
| NOT_FOUND of the namespace | the pass ends |
| NOT_FOUND otherwise | `Missing`; first the archive is asked, if it may be |
| PERMISSION_DENIED, UNAUTHENTICATED | the pass ends; `Unknown` if other rows are answered |
| RESOURCE_EXHAUSTED | half the rate, tried again for about 16 s; then as above |
| RESOURCE_EXHAUSTED of scope SYSTEM | half the rate, and the pass ends at once |
| RESOURCE_EXHAUSTED: BUSY_WORKFLOW, oversized message | `Unknown`, the rate stays |
| UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED | one more try; `Unknown` if others are answered |
| 50 of these in a row | the pass ends |
| an answer that cannot be decoded | `Unknown`; of a history: the row is written without its text |
| everything else | `Unknown` |

In a namespace that only rows name, what would end the pass makes its rows `Unknown`.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message
from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure, ResourceExhaustedFailure
from temporalio.service import RPCError, RPCStatusCode

from reconciler.core.errors import TemporalUnfit, TemporalUnusable
from reconciler.core.text import one_line
from reconciler.temporal.client.connect_errors import Route

# Nothing of the service can be used with these, by any row.
NO_ACCESS = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED)
# The server closes each connection every few minutes: one retry of our own, then it is away.
_AWAY = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
)

# The SDK's words for an answer that is no message: what is wrong is after a path of field names.
_UNDECODED = re.compile(r"failed to decode Protobuf message: (?:[\w.]+: )*(.+)", re.DOTALL)


class RowError(Exception):
    """Temporal's answer makes sense for this row only; the text says what it was."""


class NotFound(RowError):
    """Temporal does not know this workflow or run."""


class NotNow(RowError):
    """Temporal could not tell now, and may later: nothing about the row is settled by it."""


class NamespaceUnusable(TemporalUnusable):
    """This namespace cannot be used now; others of the same server may be."""


class NamespaceUnfit(NamespaceUnusable, TemporalUnfit):
    """There is no such namespace, or not for us."""


class Overloaded(TemporalUnusable):
    """The whole server has too much to do: whoever can wait should leave it alone."""


def meaning(error: RPCError, route: Route, namespace: str, named_by: str) -> Exception:
    """What an error code that was not retried, or not with success, means to the pass.

    `RowError` for what concerns this row only, `NamespaceUnusable` for what concerns all rows of
    this namespace, any other `TemporalUnusable` for what ends the pass. `named_by` is where the
    namespace's name comes from.
    """
    target = route.target
    text = one_line(error.message, 300)
    if error.status == RPCStatusCode.NOT_FOUND:
        # The same code for "no such workflow" and "no such namespace": only the detail tells.
        if _detail(error, NamespaceNotFoundFailure()) is None:
            return NotFound(text)
        return NamespaceUnfit(
            f"Temporal at {target} has no namespace {namespace!r}", f"set {named_by}"
        )
    if error.status in NO_ACCESS:
        return NamespaceUnfit(
            f"Temporal at {target} refuses access to namespace {namespace!r} "
            f"({error.status.name.lower()}: {text})",
            "check TEMPORAL_API_KEY or TEMPORAL_TLS_*",
        )
    if is_away(error):
        return route.explain(f"{error.status.name.lower()}: {error.message}")
    if is_overload(error):
        return Overloaded(
            f"the whole Temporal server at {target} is overloaded, not namespace {namespace!r} "
            f"alone ({text}): stopped so as not to add to it; nothing is lost: the next pass, or "
            "the command run again, goes on"
        )
    if is_rate_limit(error):
        return NamespaceUnusable(
            f"Temporal at {target} keeps throttling namespace {namespace!r} ({text})",
            "lower RECONCILER_MAX_RPS",
        )
    if error.status == RPCStatusCode.INTERNAL and (undecoded := _UNDECODED.match(error.message)):
        return RowError(f"Temporal's answer cannot be decoded: {one_line(undecoded[1], 300)}")
    kind = NotNow if error.status == RPCStatusCode.ABORTED or _is_busy(error) else RowError
    return kind(f"{error.status.name.lower()}: {text}")


def undecoded(error: DecodeError) -> RPCError:
    """What Python cannot decode, as the SDK reports what it cannot decode itself."""
    return RPCError(f"failed to decode Protobuf message: {error}", RPCStatusCode.INTERNAL, b"")


def is_away(error: RPCError) -> bool:
    """Whether the server could not be reached, or went away during the call."""
    broken = error.status == RPCStatusCode.UNKNOWN and "transport error" in error.message
    return broken or error.status in _AWAY


def is_rate_limit(error: RPCError) -> bool:
    """Whether the server asks for fewer calls, of this namespace or of everybody.

    BUSY_WORKFLOW is contention for one workflow's lock and an oversized message is one row's
    affair: slowing down would help neither.
    """
    if error.status != RPCStatusCode.RESOURCE_EXHAUSTED:
        return False
    # Without a detail it is not from Temporal's limiters: gRPC's own message limit, or a proxy.
    return not _is_busy(error) and "larger than max" not in error.message


def _is_busy(error: RPCError) -> bool:
    detail = _detail(error, ResourceExhaustedFailure())
    busy = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW
    return detail is not None and detail.cause == busy


def is_overload(error: RPCError) -> bool:
    """Whether a limit of the whole server is exceeded: then whoever can wait should go away.

    Of what server 1.32 answers, seen on one with each of these limits set low:

    - `frontend.rps` is of this scope. So is `frontend.persistenceMaxQPS`, and in its source the
      persistence of every service, an overloaded Cassandra or Elasticsearch and a full cache;
    - `frontend.namespaceRPS`, `.visibility` and the global ones, `history.rps`,
      `history.persistenceMaxQPS` and `history.persistenceNamespaceMaxQPS` are the namespace's,
      because their share of a namespace, or a shard, is exceeded first.

    What lasts only for a moment the frontend has tried again itself, where another service said
    it (common/util.go, IsServiceClientTransientError); CONCURRENT_LIMIT is the namespace's, and
    CIRCUIT_BREAKER_OPEN never leaves the server. An answer without a scope is from an older one.
    """
    if not is_rate_limit(error):
        return False
    detail = _detail(error, ResourceExhaustedFailure())
    system = ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM
    return detail is not None and detail.scope == system


_Detail = TypeVar("_Detail", bound=Message)


def _detail(error: RPCError, into: _Detail) -> _Detail | None:
    """The error's status detail of this type, unpacked; None if it has none."""
    details: Any = error.grpc_status.details
    return next((into for detail in details if detail.Unpack(into)), None)
