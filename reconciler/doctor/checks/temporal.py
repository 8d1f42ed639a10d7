"""The checks of Temporal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from temporalio.runtime import Runtime

from reconciler.core.errors import ConfigurationError, TemporalUnusable
from reconciler.doctor.findings import Finding, of_error, ok
from reconciler.doctor.rules import connection as judge
from reconciler.doctor.runner import Checks
from reconciler.temporal.client.connect import connect
from reconciler.temporal.client.error_codes import NamespaceUnusable
from reconciler.temporal.client.namespace import Namespace
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.client.server import server_version

FIX = "check TEMPORAL_ADDRESS"


class TemporalChecks:
    """All that can be said without the database."""

    def __init__(self, config: Mapping[str, Any], max_rps: float, runtime: Runtime | None) -> None:
        """`config` are arguments of `Client.connect`."""
        self.checks = Checks("Temporal", FIX)
        self.rpc: Rpc | None = None
        self.namespace: Namespace | None = None
        self._config, self._max_rps, self._runtime = config, max_rps, runtime

    async def run(self) -> None:
        """Make them all."""
        await self.checks.check(
            judge.TEMPORAL, self._connection, also=[judge.NAMESPACE], vital=True
        )

    async def _connection(self) -> Sequence[Finding]:
        """The connection and the namespace, which are made and checked in one at the start too."""
        target = self._config["target_host"]
        try:
            self.rpc, self.namespace = await connect(
                self._config, self._max_rps, runtime=self._runtime
            )
        except NamespaceUnusable as error:
            return [
                ok(judge.TEMPORAL, f"{target} answers"),
                of_error(judge.NAMESPACE, error, FIX),
            ]
        except ConfigurationError as error:  # found when it is used, not when it is read
            raise TemporalUnusable(error.problem, error.fix) from error
        version, round_trip = await server_version(self.rpc.client) or (None, None)
        return [
            judge.temporal(target, version, round_trip),
            judge.namespace(self.namespace),
        ]
