"""The raw calls over a stub of Temporal's service, and errors for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.message import Message
from temporalio.api.common.v1 import GrpcStatus, WorkflowExecution
from temporalio.api.namespace.v1 import NamespaceInfo
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
)
from temporalio.service import ConnectConfig, RPCError, RPCStatusCode

from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.client.rpc import Rpc


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


def as_asked(request: DescribeWorkflowExecutionRequest) -> DescribeWorkflowExecutionResponse:
    """A minimal description of the run that was asked about."""
    asked = request.execution
    execution = WorkflowExecution(workflow_id=asked.workflow_id, run_id=asked.run_id or "run-1")
    return DescribeWorkflowExecutionResponse(
        workflow_execution_info=WorkflowExecutionInfo(execution=execution)
    )


class Namespaces:
    """A service that knows every namespace, or raises `silence` if set."""

    silence: RPCError | None = None

    async def describe_namespace(
        self, request: DescribeNamespaceRequest, **_: Any
    ) -> DescribeNamespaceResponse:
        if self.silence is not None:
            raise self.silence
        return DescribeNamespaceResponse(namespace_info=NamespaceInfo(name=request.namespace))
