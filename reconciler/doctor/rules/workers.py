"""Do the workers that run the rows' workflows have the plugin, which writes their ends? Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.text import one_line, plural
from reconciler.doctor.findings import Finding, ok, warning
from reconciler.temporal.observe.workers import WorkflowWorker

WORKERS = "workers"
#: The name that `worker.plugin.ReconcilerPlugin` gives itself.
PLUGIN = "reconciler.ReconcilerPlugin"
#: The SDK that it is for.
_SDK = "temporal-python"
#: Workers that are named, and characters of each name.
_NAMED, _LENGTH = 5, 60


def workers(found: Sequence[WorkflowWorker]) -> list[Finding]:
    """A warning if some have the plugin and others do not, as after half a deployment.

    If none has it, workflows may well write their rows in another way. Nothing is said of workers
    that cannot have it, nor without any that can.
    """
    able = [each for each in found if each.sdk == _SDK]
    lacking = sorted({_name(each) for each in able if PLUGIN not in each.plugins})
    count = sum(PLUGIN not in each.plugins for each in able)
    if not able:
        return []
    polling = f"{plural(len(able), 'worker')} of the last rows' task queues"
    if not count:
        return [ok(WORKERS, f"ReconcilerPlugin is on {polling}")]
    names = ", ".join(lacking[:_NAMED]) + (", …" if len(lacking) > _NAMED else "")
    if count == len(able):
        text = f"no ReconcilerPlugin on {polling}: fine if workflows write their rows themselves"
        return [ok(WORKERS, f"{text}; {names}")]
    text = f"no ReconcilerPlugin on {count} of {polling}, so some rows wait for a pass: {names}"
    return [warning(WORKERS, text, "add plugins=[ReconcilerPlugin()] to these workers")]


def _name(worker: WorkflowWorker) -> str:
    """Such as `7@web-1 (queue orders, SDK 1.35.0)`; the host only if the identity lacks it."""
    host = "" if worker.host in worker.identity else f" on {worker.host}"
    queue = one_line(worker.queue, _LENGTH)
    return f"{one_line(worker.identity + host, _LENGTH)} (queue {queue}, SDK {worker.version})"
