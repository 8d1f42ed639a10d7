"""What a namespace's description says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import ArchivalState
from temporalio.api.namespace.v1 import NamespaceConfig, NamespaceInfo
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse

from reconciler.core.errors import TemporalUnusable
from tests.support.temporal.stubs import rpc


@pytest.mark.parametrize(
    ("state", "archives"),
    [
        (ArchivalState.ARCHIVAL_STATE_ENABLED, True),
        (ArchivalState.ARCHIVAL_STATE_DISABLED, False),
        (ArchivalState.ARCHIVAL_STATE_UNSPECIFIED, False),
    ],
)
async def test_a_namespace_archives_histories_if_that_is_enabled(
    state: ArchivalState.ValueType, archives: bool
) -> None:
    class Service:
        async def describe_namespace(self, *_: Any, **options: Any) -> DescribeNamespaceResponse:
            # The visibility archive has no histories.
            config = NamespaceConfig(
                history_archival_state=state,
                visibility_archival_state=ArchivalState.ARCHIVAL_STATE_ENABLED,
            )
            return DescribeNamespaceResponse(namespace_info=NamespaceInfo(name="ns"), config=config)

    assert (await rpc(Service()).describe_namespace()).archives_history is archives


@pytest.mark.parametrize(
    ("kept", "retention"),
    [
        (Duration(seconds=3600), timedelta(hours=1)),
        (Duration(), timedelta(0)),
        (None, timedelta(0)),
        (Duration(seconds=315_576_000_000), timedelta(days=3_652_500)),
        (Duration(seconds=-1), None),
        (Duration(seconds=2**62), None),
        (Duration(seconds=-(2**62)), None),
    ],
)
async def test_an_impossible_retention_is_an_error(
    kept: Duration | None, retention: timedelta | None
) -> None:
    class Service:
        async def describe_namespace(self, *_: Any, **options: Any) -> DescribeNamespaceResponse:
            config = NamespaceConfig(workflow_execution_retention_ttl=kept)
            return DescribeNamespaceResponse(namespace_info=NamespaceInfo(name="ns"), config=config)

    if retention is None:
        with pytest.raises(TemporalUnusable, match="impossible retention"):
            await rpc(Service()).describe_namespace()
    else:
        assert (await rpc(Service()).describe_namespace()).retention == retention
