"""What the error codes of Temporal's answers mean: for the row, the pass and the rate.

| answer | meaning |
|---|---|
| NOT_FOUND of the namespace | the pass ends |
| NOT_FOUND otherwise | the archive is asked, if allowed; then `Missing` |
| PERMISSION_DENIED, UNAUTHENTICATED | the pass ends; `Unknown` if other rows are answered |
| … of a task queue's description | no pass depends on it |
| RESOURCE_EXHAUSTED | half the rate, retried for about 16 s; then as above |
| RESOURCE_EXHAUSTED of scope SYSTEM | half the rate, and the pass ends at once |
| RESOURCE_EXHAUSTED: BUSY_WORKFLOW, oversized message | `Unknown`, the rate stays |
| UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED | one retry; `Unknown` if others are answered |
| 50 of these in a row | the pass ends |
| an answer that cannot be decoded | `Unknown`; a history: the row is written without its text |
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
from reconciler.temporal.client.connect_errors import CHECK_ACCESS, Endpoint

NO_ACCESS = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED)
# The server closes each connection every few minutes, so one failure does not mean much.
_UNREACHABLE = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
)

# What the SDK says about an answer that it cannot decode; a path of field names precedes the cause.
_UNDECODED = re.compile(r"failed to decode Protobuf message: (?:[\w.]+: )*(.+)", re.DOTALL)


class RowError(Exception):
    """An error that concerns one row only; its text says what it was."""


class NotFound(RowError):
    """Temporal does not know this workflow or run."""


class NotNow(RowError):
    """Temporal gives no usable answer now, but may later: nothing follows for the row."""


class Denied(RowError):
    """A call that not every role may make, and that no pass depends on."""


class NamespaceUnusable(TemporalUnusable):
    """This namespace cannot be used now; others of the same server may be usable."""


class NamespaceUnfit(NamespaceUnusable, TemporalUnfit):
    """The namespace does not exist, or denies access."""


class Overloaded(TemporalUnusable):
    """The whole server is overloaded: stop calling it."""


def classify(
    error: RPCError, endpoint: Endpoint, namespace: str, named_by: str, limit: str
) -> Exception:
    """What an error means for the pass, once retries are over.

    `RowError` if it concerns this row only, `NamespaceUnusable` for all rows of this namespace,
    any other `TemporalUnusable` if it ends the pass. `named_by`: where the namespace is set;
    `limit`: the setting that limits such calls.
    """
    target = endpoint.target
    text = one_line(error.message, 300)
    if error.status == RPCStatusCode.NOT_FOUND:
        # Only the detail distinguishes "no such workflow" from "no such namespace".
        if not is_unknown_namespace(error):
            return NotFound(text)
        return NamespaceUnfit(
            f"Temporal at {target} has no namespace {namespace!r}", f"set {named_by}"
        )
    if error.status in NO_ACCESS:
        return NamespaceUnfit(
            f"Temporal at {target} refuses access to namespace {namespace!r} ({with_code(error)})",
            CHECK_ACCESS,
        )
    if is_unreachable(error):
        return endpoint.explain(f"{error.status.name.lower()}: {error.message}")
    if is_overload(error):
        return Overloaded(
            f"the whole Temporal server at {target} is overloaded, not only namespace "
            f"{namespace!r} ({text}); nothing is lost",
            "wait for the next pass, or run the command again later",
        )
    if is_rate_limit(error):
        return NamespaceUnusable(
            f"Temporal at {target} keeps throttling namespace {namespace!r} ({text})",
            f"lower {limit}",
        )
    if error.status == RPCStatusCode.INTERNAL and (undecoded := _UNDECODED.match(error.message)):
        return RowError(f"Temporal's answer cannot be decoded: {one_line(undecoded[1], 300)}")
    kind = NotNow if error.status == RPCStatusCode.ABORTED or _is_busy(error) else RowError
    return kind(with_code(error))


def with_code(error: RPCError) -> str:
    """The error's code and message in one line."""
    return f"{error.status.name.lower()}: {one_line(error.message, 300)}"


def as_rpc_error(error: RPCError | DecodeError) -> RPCError:
    """A `DecodeError` of Python's protobuf as the SDK reports its own; an `RPCError` as it is."""
    if isinstance(error, RPCError):
        return error
    return RPCError(f"failed to decode Protobuf message: {error}", RPCStatusCode.INTERNAL, b"")


def is_unknown_namespace(error: RPCError) -> bool:
    """Whether the cluster has no such namespace."""
    return _detail(error, NamespaceNotFoundFailure()) is not None


def is_unreachable(error: RPCError) -> bool:
    """Whether the server could not be reached, or the connection broke during the call."""
    broken = error.status == RPCStatusCode.UNKNOWN and "transport error" in error.message
    return broken or error.status in _UNREACHABLE


def is_rate_limit(error: RPCError) -> bool:
    """Whether the server asks for fewer calls, from this namespace or from everyone.

    BUSY_WORKFLOW is contention for one workflow's lock, and an oversized message concerns one row:
    slowing down would help neither.
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
    """Whether a limit of the whole server is exceeded.

    Seen on server 1.32 with each of these limits set low:

    - `frontend.rps` is of this scope. So is `frontend.persistenceMaxQPS`, and by its source the
      persistence of every service, an overloaded Cassandra or Elasticsearch, and a full cache;
    - `frontend.namespaceRPS`, `.visibility` and the global ones, `history.rps`,
      `history.persistenceMaxQPS` and `history.persistenceNamespaceMaxQPS` are of the namespace's
      scope, because its share, or that of a shard, is exceeded first.

    The frontend has already retried transient errors of other services (common/util.go,
    IsServiceClientTransientError). CONCURRENT_LIMIT is of the namespace's scope, and
    CIRCUIT_BREAKER_OPEN never leaves the server. Older servers send no scope.
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
