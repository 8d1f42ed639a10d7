"""How a batch is taken apart: by what the database says of it, and in how many statements."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import asyncpg
import pytest

from reconciler.core.errors import DatabaseUnfit, DatabaseUnusable
from reconciler.postgres.rows import halving, rejection
from reconciler.postgres.rows.batch import IF_ANY, Done
from reconciler.postgres.rows.guarded import Attempt
from reconciler.postgres.rows.halving import PATIENCE, SLOW, Halving

BATCH = 500
#: As many failures as it takes to come down to one row of a batch, and its neighbours.
TO_ONE = 2 * BATCH.bit_length()


def error(kind: type[asyncpg.PostgresError], words: str = "no") -> Exception:
    made: Exception = kind(words)
    setattr(made, "severity", "ERROR")  # noqa: B010 - not among its declared ones
    return made


class Server:
    """Rejects statements with some rows in them; counts all, and those that failed."""

    def __init__(self, rejects: Callable[[Sequence[int]], Exception | None]) -> None:
        self.rejects = rejects
        self.statements: list[Sequence[int]] = []
        self.failed = 0

    async def attempt(self, items: Sequence[int]) -> Attempt:
        self.statements.append(items)
        if why := self.rejects(items):
            self.failed += 1
            raise why
        return Attempt(dict.fromkeys(range(len(items)), "completed"))


def of_rows(
    bad: Collection[int], kind: type[asyncpg.PostgresError] = asyncpg.RaiseError
) -> Callable[[Sequence[int]], Exception | None]:
    return lambda items: error(kind) if any(item in bad for item in items) else None


async def write(server: Server, count: int = BATCH, halving: Halving | None = None) -> Done:
    return await (halving or Halving("write t")).write(server.attempt, range(count))


@pytest.mark.parametrize("bad", [0, 250, 499])
async def test_one_bad_row_is_found_in_a_few_statements(bad: int) -> None:
    server = Server(of_rows({bad}))

    done = await write(server)

    assert done.refused == {bad: "no"}
    assert done.ruled_out == {bad}
    assert len(done.written) == BATCH - 1
    assert len(server.statements) <= 2 * BATCH.bit_length() + 1


@pytest.mark.parametrize(
    "bad",
    [
        *(range(0, BATCH, 2), range(0, BATCH, 10), range(100), range(450), range(50, BATCH)),
        [n for n in range(BATCH) if n % 10],
    ],
    ids=["every second", "every tenth", "first 100", "first 450", "last 450", "nine of ten"],
)
async def test_what_is_not_for_all_is_found_out_row_by_row(bad: Collection[int]) -> None:
    server = Server(of_rows(set(bad)))

    done = await write(server)

    good = BATCH - len(bad)
    assert len(done.written) >= 0.9 * good, "the rest is for the next pass"
    assert done.refused.keys() == set(range(BATCH)) - done.written.keys()


async def test_where_some_could_be_written_the_others_are_worth_more_statements() -> None:
    good = {*range(125), *range(125, BATCH, 75)}

    done = await write(Server(of_rows(set(range(BATCH)) - good)))

    assert done.written.keys() == good


async def test_what_a_function_raises_is_a_rule_even_if_it_raises_it_without_rows() -> None:
    why = error(asyncpg.InsufficientPrivilegeError)
    setattr(why, "context", "PL/pgSQL function audit() line 1 at SQL statement")  # noqa: B010

    done = await write(Server(lambda _: why), 3)

    assert (len(done.refused), done.failure) == (3, None)


@pytest.mark.parametrize("good", range(0, 50, 7))
async def test_of_fifty_rows_each_is_tried(good: int) -> None:
    done = await write(Server(of_rows(set(range(50)) - {good})), 50)

    assert done.written.keys() == {good}


async def test_a_rule_for_all_ends_it_early_and_for_the_pass() -> None:
    server, halving = Server(of_rows(range(10_000))), Halving("write t")

    for number in range(4):
        before = server.failed
        done = await write(server, halving=halving)
        assert server.failed - before <= (TO_ONE if number else PATIENCE)
        assert done.refused.keys() == set(range(BATCH)) == done.ruled_out
        assert done.failure is None


async def test_another_pass_tries_other_rows() -> None:
    async def tried() -> set[int]:
        server = Server(of_rows(range(BATCH)))
        await write(server)
        return {items[0] for items in server.statements if len(items) == 1}

    assert len({frozenset(await tried()) for _ in range(5)}) > 1


async def test_after_it_was_given_up_one_bad_row_still_costs_no_other() -> None:
    halving = Halving("write t")
    await write(Server(of_rows(range(BATCH))), halving=halving)

    done = await write(Server(of_rows({77})), halving=halving)

    assert list(done.refused) == [77]
    assert len(done.written) == BATCH - 1


async def test_many_bad_rows_are_bounded_even_if_some_are_good() -> None:
    server = Server(of_rows(set(range(5_000)) - {4_000}))

    await write(server, 5_000)

    assert server.failed <= (IF_ANY + 1) * PATIENCE


async def test_rows_that_are_given_up_and_those_that_were_tried_have_the_same_words() -> None:
    words: dict[tuple[str, ...], str] = {}

    def rejects(items: Sequence[int]) -> Exception:
        return error(asyncpg.RaiseError, f"row {items[0]} is audited")

    causes = set()
    for _ in range(2):
        done = await write(Server(rejects), halving=Halving("write t", words))
        causes |= set(done.refused.values())

    assert causes == {"refused, as others are: row 0 is audited"}


@pytest.mark.parametrize(
    "kind",
    [asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError],
)
async def test_what_takes_too_long_is_halved_and_the_size_kept(
    kind: type[asyncpg.PostgresError],
) -> None:
    server = Server(lambda items: error(kind) if len(items) > 30 else None)
    halving = Halving("write t")

    first = await write(server, halving=halving)
    fails = server.failed
    server.statements.clear()
    second = await write(server, halving=halving)

    assert len(first.written) == len(second.written) == BATCH
    assert fails == server.failed <= 5
    assert max(map(len, server.statements)) <= 30


async def test_one_row_that_takes_too_long_does_not_make_all_statements_small() -> None:
    server, halving = Server(of_rows({77}, asyncpg.QueryCanceledError)), Halving("write t")
    done = await write(server, halving=halving)
    server.statements.clear()
    server.rejects = lambda _: None

    again = await write(server, halving=halving)

    assert list(done.refused) == [77]
    assert len(done.written) == BATCH - 1
    assert len(again.written) == BATCH
    assert [len(items) for items in server.statements] == [BATCH]


async def test_if_every_row_takes_too_long_only_a_few_are_waited_for() -> None:
    def rejects(items: Sequence[int]) -> Exception | None:
        return error(asyncpg.QueryCanceledError, "statement timeout") if items else None

    server = Server(rejects)

    done = await write(server)

    assert server.failed <= PATIENCE / SLOW
    assert len(done.refused) == BATCH
    assert len(done.ruled_out) < BATCH, "what was not tried is not held against a row"


async def test_what_is_in_doubt_is_asked_about_without_rows() -> None:
    rejects_all = Server(lambda _: error(asyncpg.UndefinedTableError, "no such table"))

    done = await write(rejects_all)

    assert [len(items) for items in rejects_all.statements] == [BATCH, 0]
    assert isinstance(done.failure, DatabaseUnfit)
    assert str(done.failure) == "cannot write t: no such table"
    assert done.untried == set(range(BATCH))
    server = Server(of_rows({7}, asyncpg.UndefinedTableError))
    done = await write(server)
    assert (done.refused, done.failure) == ({7: "no"}, None)
    assert [len(items) for items in server.statements].count(0) == 1, "once is enough"


async def test_a_connection_that_is_lost_leaves_what_was_written_and_what_was_not_tried() -> None:
    lost: Exception = asyncpg.ConnectionDoesNotExistError("closed")
    carried_out = False

    def rejects(items: Sequence[int]) -> Exception | None:
        nonlocal carried_out
        if carried_out:
            return lost
        if 3 in items:
            return error(asyncpg.RaiseError)
        carried_out = True
        return None

    server = Server(rejects)

    done = await write(server, 16)

    assert isinstance(done.failure, DatabaseUnusable)
    assert done.written
    assert done.written.keys() | done.untried == set(range(16))
    assert not done.refused


@pytest.mark.parametrize(
    ("kind", "severity", "context", "ends"),
    [
        (asyncpg.ConnectionFailureError, "ERROR", "PL/pgSQL function f()", False),
        (asyncpg.ConnectionFailureError, None, None, True),
        (asyncpg.AdminShutdownError, "FATAL", None, True),
        (asyncpg.CrashShutdownError, "FATAL", "PL/pgSQL function f()", True),
        (asyncpg.AdminShutdownError, "ERROR", "PL/pgSQL function f()", False),
        (asyncpg.InterfaceError, None, None, True),
        (OSError, None, None, True),
        (KeyError, None, None, False),
        (UnicodeEncodeError, None, None, False),
    ],
)
async def test_whether_the_connection_is_lost(
    kind: type[Exception], severity: str | None, context: str | None, ends: bool
) -> None:
    made = (
        UnicodeEncodeError("ascii", "x", 0, 1, "no") if kind is UnicodeEncodeError else kind("no")
    )
    for name, value in {"severity": severity, "context": context}.items():
        if isinstance(made, asyncpg.PostgresError):
            setattr(made, name, value)

    gone = False

    def rejects(items: Sequence[int]) -> Exception | None:
        nonlocal gone
        gone = gone or 7 in items
        return made if (gone and ends) or 7 in items else None

    done = await write(Server(rejects), 16)

    assert (done.failure is not None) == ends
    assert ends or list(done.refused) == [7]


async def test_a_server_that_is_silent_is_not_waited_for_again() -> None:
    server = Server(lambda items: TimeoutError() if 7 in items else None)

    done = await write(server, 16)

    assert isinstance(done.failure, DatabaseUnusable)
    assert len(server.statements) == 1


async def test_a_full_disk_of_one_row_is_about_that_row() -> None:
    done = await write(Server(of_rows({7}, asyncpg.DiskFullError)), 16)

    assert (list(done.refused), done.failure) == ([7], None)


async def test_a_full_disk_of_all_rows_ends_it() -> None:
    done = await write(Server(of_rows(range(16), asyncpg.DiskFullError)), 16)

    assert isinstance(done.failure, DatabaseUnusable)


async def test_spoiled_rows_are_left_out_and_the_others_tried_again() -> None:
    class Spoiling(Server):
        async def attempt(self, items: Sequence[int]) -> Attempt:
            self.statements.append(items)
            if spoiled := {n: "a trigger" for n, item in enumerate(items) if item % 3 == 0}:
                return Attempt(spoiled=spoiled)
            return Attempt(dict.fromkeys(range(len(items)), "completed"))

    server = Spoiling(lambda _: None)

    done = await write(server, 30)

    assert done.refused == dict.fromkeys(range(0, 30, 3), "a trigger")
    assert len(done.written) == 20
    assert len(server.statements) == 2


@pytest.mark.parametrize("count", [1, 16])
async def test_a_race_is_run_once_and_a_row_that_loses_it_again_is_refused(count: int) -> None:
    raced: list[int] = []

    def rejects(items: Sequence[int]) -> Exception | None:
        if 0 in items and not (raced and len(items) == 1):
            raced.append(0)
            return error(asyncpg.SerializationError)
        return None

    done = await write(Server(rejects), count)

    assert len(done.written) == count
    done = await write(Server(of_rows({0}, asyncpg.SerializationError)), count)
    assert (done.refused, done.untried, done.failure) == ({0: "no"}, set(), None)
    assert done.ruled_out == {0}


def lost(severity: str | None = "FATAL") -> Exception:
    made: Exception = asyncpg.AdminShutdownError("terminating connection")
    setattr(made, "severity", severity)  # noqa: B010 - not among its declared ones
    return made


async def test_one_row_that_ends_its_connection_is_found_in_a_few_connections() -> None:
    server = Server(lambda items: lost() if 77 in items else None)

    done = await write(server)

    assert (done.refused, done.ruled_out) == ({77: "terminating connection"}, {77})
    assert (len(done.written), done.failure) == (BATCH - 1, None)
    assert server.failed <= BATCH.bit_length() + 1


@pytest.mark.parametrize("kind", [asyncpg.InterfaceError, ConnectionResetError, OSError])
async def test_a_connection_that_the_network_has_ended_is_lost_too(kind: type[Exception]) -> None:
    done = await write(Server(lambda items: kind("gone") if 3 in items else None), 8)

    assert (done.refused, done.failure) == ({3: "the connection was lost: gone"}, None)
    assert len(done.written) == 7


async def test_what_the_server_said_in_the_end_counts_and_not_how_the_driver_puts_it() -> None:
    def rejects(items: Sequence[int]) -> Exception | None:
        closed = asyncpg.ConnectionDoesNotExistError("closed")
        closed.__cause__ = lost()
        return closed if 3 in items else None

    done = await write(Server(rejects), 8)

    assert done.refused == {3: "terminating connection"}


async def test_if_each_row_ends_its_connection_the_database_cannot_be_used() -> None:
    server = Server(lambda items: lost() if items else None)

    done = await write(server)

    assert isinstance(done.failure, DatabaseUnusable)
    assert server.failed <= PATIENCE / SLOW
    assert done.untried | done.refused.keys() == set(range(BATCH))
    assert done.untried


async def test_rows_that_are_known_to_end_connections_are_given_up_for_this_pass_alone() -> None:
    server = Server(lambda items: lost() if items else None)

    done = await Halving("write t").write(server.attempt, range(BATCH), hopeful=False)

    assert (len(done.refused), done.failure) == (BATCH, None)
    assert server.failed <= TO_ONE / SLOW + 1


@pytest.mark.parametrize("ended", ["once more", "for good"])
async def test_rows_that_come_back_locked_after_a_loss_are_looked_at_again(
    ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejection, "ENDS_IN", 0.5)
    monkeypatch.setattr(halving, "LOOKS_EACH", 0.01)
    looks = 0

    class Locked(Server):
        async def attempt(self, items: Sequence[int]) -> Attempt:
            nonlocal looks
            done = await super().attempt(items)
            if 3 in items and (ended == "for good" or looks < 3):
                looks += 1
                return Attempt({n: "completed" for n, item in enumerate(items) if item != 3})
            return done

    done = await write(Locked(lambda items: lost() if 7 in items else None), 16)

    assert looks >= 3
    assert list(done.refused) == [7]
    assert (3 in done.written) is (ended == "once more"), "in the end it is a lost race"


async def test_an_empty_batch_is_no_statement() -> None:
    server = Server(lambda _: None)

    assert await write(server, 0) == Done()
    assert server.statements == []
