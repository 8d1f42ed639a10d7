"""The main path's statement and a pass's choose the row that `core.own_use` chooses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.model import ChainStart, Closed, CloseStatus, Rival, RunRow, Unknown
from reconciler.core.own_use import Chain, check_rivals, check_times
from reconciler.core.ports import Ending
from reconciler.postgres.rows.main_path_write import main_path_write
from reconciler.postgres.rows.store import PostgresStore
from tests.conftest import Database, opened
from tests.support.properties import examples
from tests.support.servers.lending import Lending

STARTED = datetime(2026, 1, 1, 12, tzinfo=UTC)
ENDED = STARTED + timedelta(hours=1)
#: When rows are created and end, in seconds since the use started; it takes an hour.
MOMENTS = (-9000, -60, -3, -2, -1, 0, 1, 2, 3, 60, 600, 3600, 3602, 3603, None)
USE = Chain("ours", "ours", STARTED, ENDED)
CLOSED = Closed(CloseStatus.COMPLETED, ENDED, "ours", start=ChainStart("ours", STARTED))


@dataclass(frozen=True)
class Made:
    """A row of the workflow id."""

    run_id: str | None
    created: int | None
    running: bool
    ended: int | None


ROWS = st.lists(
    st.builds(
        Made,
        st.sampled_from([None, None, None, "", "ours", "theirs"]),
        st.sampled_from(MOMENTS),
        st.booleans(),
        st.sampled_from(MOMENTS),
    ),
    min_size=1,
    max_size=5,
)


@dataclass
class Shared:
    """One database for all examples."""

    database: Database
    store: PostgresStore
    main_path: sa.Select[Any]


@pytest.fixture(scope="module")
async def shared(lending: Lending) -> AsyncIterator[Shared]:
    async with lending.lend() as url, opened(url) as database:
        await database.execute("ALTER TABLE workflow_executions ALTER created_at DROP NOT NULL")
        table = await database.table()
        yield Shared(database, PostgresStore(database.engine, table), main_path_write(table))


@settings(examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
async def test_all_choose_the_same_rows(shared: Shared, rows: list[Made]) -> None:
    database = shared.database
    await database.execute("TRUNCATE workflow_executions")
    ids = [await insert(database, each) for each in rows]
    known = dict(zip(ids, rows, strict=True))

    running = {id_ for id_, made in known.items() if made.running}
    by_rule = {id_ for id_ in running if is_own(id_, known, rivals_of(id_, known))}
    by_pass = {id_ for id_ in running if is_own(id_, known, await read_rivals(shared, id_, known))}
    stored = {id_ for id_, made in known.items() if made.run_id == "ours"}

    assert by_pass == by_rule
    assert len(by_rule) <= 1
    assert await finished_by_main_path(shared) == (stored & running if stored else by_rule)


async def insert(database: Database, made: Made) -> int:
    fields = {} if made.running else {"status": "done", "completed_at": moment(made.ended)}
    return await database.insert("w", made.run_id, created_at=moment(made.created), **fields)


def moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else STARTED + timedelta(seconds=seconds)


def row(id_: int, made: Made) -> RunRow:
    return RunRow(id_, "w", made.run_id, moment(made.created))


def rivals_of(id_: int, known: dict[int, Made]) -> list[Rival]:
    return [
        Rival(row(other, made), None if made.running else moment(made.ended))
        for other, made in known.items()
        if other != id_
    ]


async def read_rivals(shared: Shared, id_: int, known: dict[int, Made]) -> Sequence[Rival]:
    found = await shared.store.rivals([Ending(row(id_, known[id_]), USE)])
    assert not isinstance(found, Unknown)
    return found[0]


def is_own(id_: int, known: dict[int, Made], rivals: Sequence[Rival]) -> bool:
    of = row(id_, known[id_])
    if of.run_id or check_times(of, CLOSED, ENDED, timedelta.max) is not None:
        return False
    return check_rivals(of, CLOSED, rivals, "default") is None


async def finished_by_main_path(shared: Shared) -> set[int]:
    values = {
        "given_workflow_id": "w",
        "given_run_id": "ours",
        "given_namespace": "default",
        "given_status": "written",
        "given_message": None,
        "given_close_time": ENDED,
        "given_started": STARTED,
    }
    async with shared.database.engine.begin() as connection:
        (count, *_) = (await connection.execute(shared.main_path, values)).one()
    written = await shared.database.fetch(
        "SELECT id FROM workflow_executions WHERE status = 'written'"
    )
    assert len(written) == count
    return {int(str(each["id"])) for each in written}
