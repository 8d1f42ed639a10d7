"""The raw calls over a service of the test's own, and the errors of one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.message import Message
from temporalio.api.common.v1 import GrpcStatus
from temporalio.service import ConnectConfig, RPCError, RPCStatusCode

from reconciler.temporal.limiter import RateLimiter
from reconciler.temporal.rpc import Rpc


def error(code: RPCStatusCode, text: str = "text", detail: Message | None = None) -> RPCError:
    status = GrpcStatus(code=int(code), message=text)
    if detail is not None:
        packed = AnyProto()
        packed.Pack(detail)
        status.details.append(packed)
    return RPCError(text, code, status.SerializeToString())


def rpc(
    service: object,
    limiter: RateLimiter | None = None,
    list_limiter: RateLimiter | None = None,
) -> Rpc:
    config = ConnectConfig(target_host="t:7233")
    client: Any = SimpleNamespace(
        workflow_service=service,
        namespace="ns",
        service_client=SimpleNamespace(config=config),
    )
    return Rpc(client, limiter or RateLimiter(0), list_limiter=list_limiter)
