"""Chains end, visibility lags, rows are late, polls fail, processes are killed: no row is missed.

Within the limits that the book documents. Time is simulated; a look writes a row if its chain has
ended, unless it is disturbed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hypothesis import event, given
from hypothesis import strategies as st

from reconciler.core.feed.book import Book
from reconciler.core.feed.closing import Closing
from reconciler.core.feed.ended import Ended, LookEnd, WaitUntil
from reconciler.core.model import CloseStatus
from tests.support.closings import Visibility
from tests.support.factories import NOW
from tests.support.properties import examples

GRACE = timedelta(seconds=60)
#: Seconds in which things happen, and until the last of them must have been seen.
BUSY, DONE = 600, 2400


@dataclass(frozen=True)
class Chain:
    """A row and its chain of runs; all times in seconds after NOW."""

    #: The ends of its runs: when, with which status, and by how much later visibility shows it.
    ends: list[tuple[float, CloseStatus, float]]
    #: When its row is committed, after the last run has been shown (if positive).
    row_after: float

    @property
    def ended_at(self) -> float:
        return self.ends[-1][0]

    @property
    def shown_at(self) -> float:
        return self.ended_at + self.ends[-1][2]

    @property
    def row_at(self) -> float:
        return self.shown_at + self.row_after


@dataclass(frozen=True)
class World:
    """What happens."""

    #: Those in the same list share a workflow id.
    chains: list[list[Chain]]
    #: Seconds between polls, and between closings of other workflows, of each status.
    interval: int
    other: int
    #: How looks are disturbed, in this order: not settled at all, or with this end.
    disturbed: list[Ended | int | None] = field(default_factory=list)
    #: From when to when polls fail, and after how many lists.
    outage: tuple[int, int, int] | None = None
    #: When processes are killed, and how long none follows.
    kills: list[tuple[int, int]] = field(default_factory=list)
    cold: bool = False


def seconds(largest: float, least: float = 0) -> st.SearchStrategy[float]:
    return st.integers(int(least * 10), int(largest * 10)).map(lambda tenths: tenths / 10)


BEFORE = st.just(-9999.0)


@st.composite
def chains(draw: st.DrawFn, lag: float, row_after: st.SearchStrategy[float]) -> Chain:
    statuses = st.sampled_from(CloseStatus)
    lags = st.one_of(seconds(0.5), seconds(lag))
    one = st.tuples(seconds(BUSY), statuses, lags)
    ends = draw(st.lists(one, min_size=1, max_size=6, unique_by=lambda end: end[0]))
    return Chain(sorted(ends), draw(row_after))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    kills = draw(st.lists(st.tuples(st.integers(1, BUSY), st.integers(0, 60)), max_size=2))
    # A process that resumes lists five minutes: that covers either what was late, or more rows.
    lag = draw(st.sampled_from([0.5, 20] if kills else [0.5, 20, 240]))
    one = st.lists(chains(lag, st.one_of(BEFORE, seconds(294))), min_size=1, max_size=1)
    # While one row is found, no other of the same workflow id is waited for.
    several = st.lists(chains(lag, BEFORE), min_size=2, max_size=3)
    world = World(
        draw(st.lists(st.one_of(one, several), min_size=1, max_size=4)),
        interval=draw(st.sampled_from([3, 5])),
        other=draw(st.sampled_from([10, 200])),
        disturbed=draw(st.lists(st.sampled_from([None, Ended.TRY_AGAIN, 20, 59]), max_size=6)),
        kills=sorted(kills),
        cold=draw(st.booleans()),
    )
    if lag > 20 or draw(st.booleans()):
        return world
    began, length = draw(st.integers(10, 300)), draw(st.integers(1, 300))
    world = replace(world, outage=(began, began + length, draw(st.integers(0, 5))), kills=[])
    late = draw(seconds(200 + 0.1 * length))
    return replace(
        world,
        chains=[
            [_shown_after(chain, world.outage, late) for chain in each] for each in world.chains
        ],
    )


def _shown_after(chain: Chain, outage: tuple[int, int, int] | None, late: float) -> Chain:
    """The chain, if visibility could not be written in an outage."""
    assert outage is not None
    began, ended, _ = outage
    return replace(
        chain,
        ends=[
            (at, status, ended + late - at if began <= at <= ended else lag)
            for at, status, lag in chain.ends
        ],
    )


@dataclass
class Process:
    """One process that follows the feed, and what it has done."""

    book: Book
    settled: set[str] = field(default_factory=set)
    listed: dict[str, Closing] = field(default_factory=dict)


class Simulation:
    """A world, and the processes that follow its feed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chains = {f"wf-{n}": list(each) for n, each in enumerate(world.chains)}
        self.visibility = Visibility()
        self.disturbed = list(world.disturbed)
        self.marks: dict[CloseStatus, datetime] = {}
        self.unwritten = {id_: list(each) for id_, each in self.chains.items()}
        self.to_show = sorted(
            [
                (at + lag, Closing(id_, f"{id_}-{n}-{m}", when(at)), status)
                for id_, each in self.chains.items()
                for n, chain in enumerate(each)
                for m, (at, status, lag) in enumerate(chain.ends)
            ]
            + [
                (
                    at + 0.2,
                    Closing(f"other-{at}-{status}", f"other-{at}-{status}", when(at)),
                    status,
                )
                for at in range(-20, BUSY + 300, world.other)
                for status in CloseStatus
            ],
            key=lambda each: each[0],
            reverse=True,
        )

    def run(self) -> None:
        """Play the world from its beginning to its end."""
        self.show(0)
        at, kills = 0, list(self.world.kills)
        process = self.begin(at)
        while at < DONE:
            at += self.world.interval if at < BUSY + 300 else 15
            if kills and at >= kills[0][0]:
                at += kills.pop(0)[1]
                process = self.begin(at)
            self.show(at)
            self.poll(process, at)
            self.look(process, at)
            if at % 10 == 0:
                self.check(process)
                self.marks = dict(process.book.marks())

    def begin(self, at: float) -> Process:
        """Start a process, and let it make a whole pass if it has no marks."""
        if not self.marks and not self.world.cold:
            self.marks = dict.fromkeys(CloseStatus, when(at))
        process = Process(Book(self.marks, when(at), GRACE))
        if not self.marks:
            self.poll(process, at)
            self.marks = dict(process.book.marks())
            self.whole_pass(at)
        return process

    def whole_pass(self, at: float) -> None:
        for id_, chains_ in self.unwritten.items():
            self.unwritten[id_] = [
                each for each in chains_ if each.row_at > at or each.shown_at > at
            ]

    def show(self, at: float) -> None:
        while self.to_show and self.to_show[-1][0] <= at:
            _, closing, status = self.to_show.pop()
            self.visibility.show(closing, status=status)

    def poll(self, process: Process, at: float) -> None:
        began, ended, lists = self.world.outage or (0, 0, 0)
        fails, book = began <= at < ended, process.book
        for n, (status, asked) in enumerate(book.listings(when(at)).items()):
            if fails and n >= lists:
                break
            listed = self.visibility.read(status, asked)
            process.listed |= {each.run_id: each for each in listed.closings}
            book.take(status, listed, when(at))
        (book.failed if fails else book.polled)(when(at))

    def look(self, process: Process, at: float) -> None:
        due = process.book.due(when(at))
        assert len({each.workflow_id for each in due}) == len(due)
        assert process.settled.isdisjoint(each.run_id for each in due)
        hits = [each for each in due if self.rows(each.workflow_id, at)]
        process.book.looked_up(due, hits, when(at))
        for hit in hits:
            end = self.look_at(hit.workflow_id, at)
            if end is None:
                return  # the pass was aborted
            process.book.settled(hit, end, when(at))
            if end in {Ended.WRITTEN, Ended.OPEN}:
                process.settled.add(hit.run_id)

    def rows(self, id_: str, at: float) -> list[Chain]:
        return [each for each in self.unwritten.get(id_, ()) if each.row_at <= at]

    def look_at(self, id_: str, at: float) -> LookEnd | None:
        ended = [each for each in self.rows(id_, at) if each.ended_at <= at]
        if not ended:
            return Ended.OPEN
        if self.disturbed:
            end = self.disturbed.pop()
            return WaitUntil(when(at + end)) if isinstance(end, int) else end
        self.unwritten[id_] = [each for each in self.unwritten[id_] if each not in ended]
        return Ended.WRITTEN

    def check(self, process: Process) -> None:
        """A process that resumes lists everything again that still needs a look."""
        book = process.book
        assert not book.is_behind
        marks, waiting = book.marks(), book._waiting
        for entry in waiting._pinned.values():
            assert marks[entry.status] <= entry.closing.closed_at
        for entry in waiting._late.values():
            assert marks[entry.status] - timedelta(minutes=5) <= entry.closing.closed_at


def when(at: float) -> datetime:
    return NOW + timedelta(seconds=at)


@examples(25)
@given(worlds())
def test_every_row_is_found(world: World) -> None:
    event(f"outage: {world.outage is not None}")
    event(f"kills: {len(world.kills)}")
    simulation = Simulation(world)
    simulation.run()
    assert not [chain for each in simulation.unwritten.values() for chain in each]
