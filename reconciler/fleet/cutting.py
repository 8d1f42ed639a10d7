"""Cuts spans of keys into ranges of about as many running rows, by the index alone.

The boundaries are keys of rows, so they do not depend on the type of the key.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reconciler.app.app import App
from reconciler.fleet.messages import Span
from reconciler.fleet.tasks import Cut, Pieces
from reconciler.postgres.table.keys import key_to_json

#: Ranges for each that runs at a time, if there are enough rows: with one or two, some workers
#: would be idle most of the time.
LEAST_PER_WORKER = 4
#: Rows of a range below which starting it takes longer than asking about them.
LEAST_ROWS = 100


async def cut(app: App, given: Cut) -> Pieces:
    """Cut off as many ranges as were asked for; smaller ones than usual if the rows are few.

    Counts rows whether or not they are in the window.
    """
    speed = given.work.speed
    pieces, rows = await _cut(app, given.spans, speed.range_rows, given.ranges)
    wanted = min(LEAST_PER_WORKER * speed.workers, given.ranges)
    if pieces.rest or len(pieces.ranges) >= wanted:
        return pieces
    fewer = max(math.ceil(rows / wanted), LEAST_ROWS)
    if fewer < speed.range_rows:
        pieces, _ = await _cut(app, given.spans, fewer, given.ranges)
    return pieces


async def _cut(app: App, spans: Sequence[Span], range_rows: int, most: int) -> tuple[Pieces, int]:
    """Cut off `most` ranges of this many rows; also returns the rows in them."""
    store, read_id = app.store(), app.table.read_id
    ranges: list[list[Span]] = [[]]
    room, rows = range_rows, 0
    rest = list(spans)
    while rest and len(ranges) <= most:
        span = rest[0]
        after = None if span.after is None else read_id(span.after)
        reached = await store.reach(after, read_id(span.until), room)
        rows += reached.rows
        room -= reached.rows
        if room > 0:  # all of it, with room for more
            ranges[-1].append(rest.pop(0))
            continue
        last = key_to_json(reached.last)
        ranges[-1].append(Span(span.after, last))
        rest[:1] = [] if last == span.until else [Span(last, span.until)]
        ranges.append([])
        room = range_rows
    return Pieces([each for each in ranges if each], rest), rows
