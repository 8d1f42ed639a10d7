"""A fake Temporal frontend, for answers that only a broken server gives."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api import workflowservice
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.namespace.v1 import NamespaceConfig, NamespaceInfo
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceResponse,
    DescribeWorkflowExecutionResponse,
    GetSystemInfoResponse,
)

#: Only this process uses gRPC, which would otherwise log a warning at every fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

#: Never answer.
HANG = "HANG"

#: A message, raw bytes, `HANG`, or the name of a gRPC status code and a text.
Answer = Message | bytes | str | tuple[str, str]


@dataclass
class Frontend:
    """`answers` by method; `asked` counts the calls by method and workflow id."""

    address: str = ""
    answers: dict[str, Callable[[Any], Answer]] = field(default_factory=dict)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)

    def answer(self, method: str, request: Any) -> Answer:
        execution = getattr(request, "execution", None)
        self.asked[method, getattr(execution, "workflow_id", "")] += 1
        if make := self.answers.get(method):
            return make(request)
        if method == "GetSystemInfo":
            return GetSystemInfoResponse(server_version="1.32.0")
        if method == "DescribeNamespace":
            return a_namespace(request.namespace)
        return "UNIMPLEMENTED", f"no {method} here"


def a_namespace(name: str, retention_days: int = 1) -> DescribeNamespaceResponse:
    kept = Duration(seconds=86_400 * retention_days)
    return DescribeNamespaceResponse(
        namespace_info=NamespaceInfo(name=name),
        config=NamespaceConfig(workflow_execution_retention_ttl=kept),
    )


def described(
    workflow_id: str,
    status: Status.ValueType = Status.WORKFLOW_EXECUTION_STATUS_RUNNING,
    run_id: str = "run-1",
    **fields: Any,
) -> DescribeWorkflowExecutionResponse:
    """A response of DescribeWorkflowExecution; times in `fields` are datetimes."""
    for name, value in fields.items():
        if isinstance(value, datetime):
            fields[name] = Timestamp()
            fields[name].FromDatetime(value)
    info = WorkflowExecutionInfo(
        execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
        type=WorkflowType(name="Order"),
        status=status,
        **{"first_run_id": run_id, **fields},
    )
    return DescribeWorkflowExecutionResponse(workflow_execution_info=info)


@asynccontextmanager
async def frontend() -> AsyncIterator[Frontend]:
    """Listen on loopback, without TLS."""
    import grpc  # noqa: PLC0415 - after the environment is set

    front = Frontend()

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # no types there
        def service(self, details: Any) -> Any:
            method = details.method.rpartition("/")[2]
            request_type = getattr(workflowservice.v1, f"{method}Request", None)

            async def call(request: bytes, context: Any) -> bytes:
                asked = request_type.FromString(request) if request_type else None
                answer = front.answer(method, asked)
                if answer == HANG:
                    await asyncio.Event().wait()
                if isinstance(answer, tuple):
                    code, text = answer
                    await context.abort(getattr(grpc.StatusCode, code), text)
                assert not isinstance(answer, str | tuple)
                return answer if isinstance(answer, bytes) else answer.SerializeToString()

            return grpc.unary_unary_rpc_method_handler(call)

    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers([Handler()])
    front.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield front
    finally:
        await server.stop(None)
