"""The SDK's core: one runtime per process, silent for commands, observed for the daemon."""

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

#: Updates kept until they are fetched, two per call, a hundred bytes each from the start. The core
#: drops what is beyond, and logs it: fetched every two seconds, this is enough for 5,000 calls/s.
METRIC_UPDATES = 20_000


@cache
def quiet_runtime() -> Runtime:
    """Without the coloured warnings that the core writes to stderr."""
    level = TelemetryFilter(core_level="OFF", other_level="OFF")
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=level)))


def observed_runtime() -> tuple[Runtime, MetricBuffer]:
    """Its log lines go through Python's logging; its metrics are for the caller to fetch often."""
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
