"""Lists closings as `run` does at every poll, once in each namespace."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from reconciler.core.errors import FeedOff, ReconcilerError, TemporalUnusable
from reconciler.core.feed.closing import Listing
from reconciler.core.model import CloseStatus
from reconciler.doctor.findings import Finding
from reconciler.doctor.rules.feed import feed, feed_off
from reconciler.settings.model import Settings
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.observe.closings import VisibilityClosings

#: Enough to see whether they are sorted.
SAMPLE = Listing(None, 20, 1)


async def check_feed(
    settings: Settings, rpc: Rpc, namespaces: Collection[str]
) -> Sequence[Finding]:
    """Whether closings can be listed, sorted, and as often as the settings say."""
    if not settings.feed_interval:
        return [feed_off()]
    closings = VisibilityClosings(rpc)

    async def wrong(namespace: str) -> ReconcilerError | None:
        try:
            await closings.read(namespace, CloseStatus.COMPLETED, SAMPLE)
        except (FeedOff, TemporalUnusable) as error:  # `run` starts all the same
            return error
        return None

    found = {name: await wrong(name) for name in namespaces}
    return feed(found, settings.feed_interval, settings.list_limits())
