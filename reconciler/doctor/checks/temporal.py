"""The checks that need Temporal only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from temporalio.runtime import Runtime

from reconciler.core.errors import ConfigurationError, TemporalUnusable
from reconciler.doctor.findings import Finding, of_error, ok
from reconciler.doctor.rules import connection as rules
from reconciler.doctor.runner import Checks
from reconciler.temporal.client.connect import connect
from reconciler.temporal.client.error_codes import NamespaceUnusable
from reconciler.temporal.client.namespace import Namespace
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.client.server import server_version

FIX = "check TEMPORAL_ADDRESS"


class TemporalChecks:
    """Connects as a pass does."""

    def __init__(self, config: Mapping[str, Any], max_rps: float, runtime: Runtime | None) -> None:
        """`config` are arguments of `Client.connect`."""
        self.checks = Checks("Temporal", FIX)
        self.rpc: Rpc | None = None
        self.namespace: Namespace | None = None
        self._config, self._max_rps, self._runtime = config, max_rps, runtime

    async def run(self) -> None:
        """Run all of them."""
        await self.checks.check(
            rules.TEMPORAL, self._connection, covers=[rules.NAMESPACE], vital=True
        )

    async def _connection(self) -> Sequence[Finding]:
        """Connecting includes a check of the namespace, here as at every start."""
        target = self._config["target_host"]
        try:
            self.rpc, self.namespace = await connect(
                self._config, self._max_rps, runtime=self._runtime
            )
        except NamespaceUnusable as error:
            return [ok(rules.TEMPORAL, f"{target} answers"), of_error(rules.NAMESPACE, error, FIX)]
        except ConfigurationError as error:  # found when it is used, not when it is read
            raise TemporalUnusable(error.problem, error.fix) from error
        version, round_trip = await server_version(self.rpc.client) or (None, None)
        return [rules.temporal(target, version, round_trip), rules.namespace(self.namespace)]
