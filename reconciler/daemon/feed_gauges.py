"""What the feed shows of itself: in metrics, and in the answer of `/readyz`."""

from __future__ import annotations

from datetime import timedelta

from reconciler.passes.feed.feed import Feed
from reconciler.passes.feed.namespace import NamespaceFeed
from reconciler.web.metrics.feed import FeedGauges, FollowedNamespace


def feed_gauges(feed: Feed | None, interval: timedelta) -> FeedGauges:
    """The present state; None: there is no feed, or it is followed by another replica."""
    followed = feed.namespaces if feed is not None else ()
    return FeedGauges(interval, [_gauges(each) for each in followed])


def why_not_followed(feed: Feed) -> str | None:
    """What keeps the feed from being followed, in the first namespace where something does."""
    for each in feed.namespaces:
        if why := each.why_off or each.failure:
            return f"namespace {each.name}: {why}"
    return None


def _gauges(each: NamespaceFeed) -> FollowedNamespace:
    now = each.clock()
    lag = now - (each.listed_at or each.met_at)
    if (book := each.book) is None:
        off = each.why_off is not None
        return FollowedNamespace(each.name, off, each.fell_behind, None if off else lag)
    mark = book.mark
    return FollowedNamespace(
        each.name,
        each.why_off is not None,
        each.fell_behind,
        lag,
        book.lateness,
        # Closed in the future by Temporal's clock, where tests let time pass.
        None if mark is None else max(now + book.skew - mark, timedelta()),
        book.pending,
        book.late,
    )
