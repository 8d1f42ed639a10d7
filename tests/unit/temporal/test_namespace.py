from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.enums.v1 import ArchivalState
from temporalio.api.namespace.v1 import NamespaceConfig, NamespaceInfo
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse

from reconciler.temporal.namespace import describe_namespace
from tests.unit.temporal.stubs import rpc


@pytest.mark.parametrize(
    ("state", "archives"),
    [
        (ArchivalState.ARCHIVAL_STATE_ENABLED, True),
        (ArchivalState.ARCHIVAL_STATE_DISABLED, False),
        (ArchivalState.ARCHIVAL_STATE_UNSPECIFIED, False),
    ],
)
async def test_a_namespace_archives_histories_where_that_is_enabled(
    state: ArchivalState.ValueType, archives: bool
) -> None:
    class Service:
        async def describe_namespace(self, *_: Any, **options: Any) -> DescribeNamespaceResponse:
            # The other archive, of visibility, has no histories.
            config = NamespaceConfig(
                history_archival_state=state,
                visibility_archival_state=ArchivalState.ARCHIVAL_STATE_ENABLED,
            )
            return DescribeNamespaceResponse(namespace_info=NamespaceInfo(name="ns"), config=config)

    assert (await describe_namespace(rpc(Service()))).archives_history is archives
