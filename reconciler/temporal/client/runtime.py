"""The SDK's runtime: one per process, silent for commands, with logs and metrics for the loop."""

from __future__ import annotations

import logging
from functools import cache

from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    MetricBuffer,
    MetricBufferDurationFormat,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

#: Updates that the core keeps until they are fetched: two per call, 100 bytes each, allocated at
#: once. It logs and drops the rest. Fetched every two seconds, this allows 5,000 calls/s.
METRIC_UPDATES = 20_000


@cache
def quiet_runtime() -> Runtime:
    """A runtime that does not write the core's coloured warnings to stderr."""
    level = TelemetryFilter(core_level="OFF", other_level="OFF")
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=level)))


def observed_runtime() -> tuple[Runtime, MetricBuffer]:
    """A runtime that logs through Python's logging, and its metrics, to be fetched often."""
    metrics = MetricBuffer(METRIC_UPDATES, MetricBufferDurationFormat.SECONDS)
    logs = LoggingConfig(
        filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=LogForwardingConfig(
            logging.getLogger("temporalio.core"),
            append_target_to_name=False,
            overwrite_log_record_time=False,
        ),
    )
    return Runtime(telemetry=TelemetryConfig(logging=logs, metrics=metrics)), metrics
