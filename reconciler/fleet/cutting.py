"""Cuts spans of keys into ranges of about as many running rows, by the index alone.

The boundaries are keys of rows, so they do not depend on the type of the key.
"""

from __future__ import annotations

from reconciler.app.app import App
from reconciler.fleet.messages import Span
from reconciler.fleet.tasks import Cut, Pieces
from reconciler.postgres.table.keys import key_to_json


async def cut(app: App, given: Cut) -> Pieces:
    """Cut off as many ranges as were asked for. Counts rows whether or not in the window."""
    store, read_id = app.store(), app.table.read_id
    ranges: list[list[Span]] = [[]]
    room = given.work.speed.range_rows
    rest = list(given.spans)
    while rest and len(ranges) <= given.ranges:
        span = rest[0]
        after = None if span.after is None else read_id(span.after)
        reached = await store.reach(after, read_id(span.until), room)
        room -= reached.rows
        if room > 0:  # all of it, with room for more
            ranges[-1].append(rest.pop(0))
            continue
        last = key_to_json(reached.last)
        ranges[-1].append(Span(span.after, last))
        rest[:1] = [] if last == span.until else [Span(last, span.until)]
        ranges.append([])
        room = given.work.speed.range_rows
    return Pieces([each for each in ranges if each], rest)
