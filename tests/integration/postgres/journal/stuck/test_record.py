"""Entries of stuck rows: recorded, replaced, and gone with what they are about."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from ipaddress import IPv4Interface
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from reconciler.core.policy import StatusValues
from reconciler.core.stuck.condition import Reason, Recorded
from reconciler.postgres.table.names import TableNames
from reconciler.settings.where import read_where
from tests.conftest import Database
from tests.integration.postgres.connection.test_encodings import encoded
from tests.integration.postgres.table.test_keys import retyped
from tests.support.factories import NOW
from tests.support.stuck import SINCE, Entries, row_at_risk, stuck_row


async def filled(database: Database, rows: int = 3) -> Entries:
    """Running rows with the keys from 1 and the workflow ids `wf-1` and so on."""
    for number in range(1, rows + 1):
        await database.insert(f"wf-{number}", "run")
    return await Entries.of(database)


async def test_what_is_recorded_is_known(database: Database) -> None:
    entries = await filled(database)
    assert await entries.is_empty()

    await entries.record([stuck_row(1)], [row_at_risk(2)], [3])

    assert await entries.known([1, 2, 3, 4]) == Recorded({1: stuck_row(1)}, {2: row_at_risk(2)})
    assert not await entries.is_empty()
    assert await entries.counts() == {Reason.ACTIVITY_RETRYING: (1, SINCE)}


async def test_what_holds_now_replaces_what_was_recorded(database: Database) -> None:
    entries = await filled(database)
    await entries.record([stuck_row(1), stuck_row(2)], [row_at_risk(3)], [])
    paused = stuck_row(1, reason=Reason.PAUSED, text="paused by ops", seen=NOW + timedelta(hours=1))

    await entries.record([paused, stuck_row(3)], [row_at_risk(2, lost_at=None)], [])

    expected = Recorded({1: paused, 3: stuck_row(3)}, {2: row_at_risk(2, lost_at=None)})
    assert await entries.known([1, 2, 3]) == expected
    await entries.record([], [], [1, 2, 3])
    assert await entries.is_empty()


async def test_nothing_is_sent_for_no_rows(database: Database) -> None:
    entries = await filled(database)

    sent = list[str]()
    engine = database.engine.sync_engine
    sa.event.listen(engine, "before_cursor_execute", lambda *event: sent.append(event[2]))

    await entries.record([], [], [])

    assert sent == []


@pytest.mark.parametrize(
    "ending",
    [
        "UPDATE workflow_executions SET status = 'completed' WHERE id = 1",
        "UPDATE workflow_executions SET workflow_id = 'another' WHERE id = 1",
        "DELETE FROM workflow_executions WHERE id = 1",
    ],
    ids=["finished", "of another workflow", "deleted"],
)
async def test_an_entry_goes_with_its_row(database: Database, ending: str) -> None:
    entries = await filled(database)
    await entries.record([stuck_row(1), stuck_row(2)], [row_at_risk(3)], [])

    await database.execute(ending)

    assert [row.workflow_id async for page in entries.shown.rows() for row in page] == ["wf-2"]
    assert await entries.shown.counts() == {Reason.ACTIVITY_RETRYING: 1}
    await entries.forget_ended()
    assert await entries.known([1, 2, 3]) == Recorded({2: stuck_row(2)}, {3: row_at_risk(3)})


async def test_a_row_at_risk_goes_too(database: Database) -> None:
    entries = await filled(database)
    await entries.record([], [row_at_risk(1), row_at_risk(2)], [])
    await database.execute("UPDATE workflow_executions SET status = 'failed' WHERE id = 1")

    assert await entries.shown.counts_at_risk() == {"never_started": 1}
    await entries.forget_ended()

    assert (await entries.known([1, 2])).at_risk == {2: row_at_risk(2)}


SOME = "01a213b5-697d-7cfc-bf26-de369cbc1bbd"
KEYS = [
    ("bigint", "7", 7),
    ("uuid", f"'{SOME}'::uuid", UUID(SOME)),
    ("text", "'it''s \\ ☂ %(x)s :y'", "it's \\ ☂ %(x)s :y"),
    ("varchar(40)", "'7'", "7"),
    ("char(5)", "'7'", "7    "),
    ("boolean", "true", True),
    ("bytea", "'\\x00ff'::bytea", b"\x00\xff"),
    ("double precision", "1e-300", 1e-300),
    ("size", "'small'::size", "small"),
    ("uid", f"'{SOME}'::uuid", UUID(SOME)),
    ("inet", "'10.0.0.1'::inet", IPv4Interface("10.0.0.1")),
    ("numeric", "7.50", Decimal("7.50")),
    ("oid", "7", 7),
]


@pytest.mark.parametrize(("kind", "using", "key"), KEYS, ids=[kind for kind, *_ in KEYS])
async def test_keys_of_any_type(database: Database, kind: str, using: str, key: Any) -> None:
    await database.execute("CREATE TYPE size AS ENUM ('small'); CREATE DOMAIN uid AS uuid")
    await database.insert("wf", "run")
    await retyped(database, kind, using)
    entries = await Entries.of(database)

    await entries.record([stuck_row(key, workflow_id="wf")], [], [])
    await entries.forget_ended()

    assert list((await entries.known([key])).stuck) == [key]
    assert await entries.shown.counts() == {Reason.ACTIVITY_RETRYING: 1}
    await entries.record([], [], [key])
    assert await entries.is_empty()


async def test_keys_that_are_of_another_type_now(database: Database) -> None:
    entries = await filled(database)
    await entries.record([stuck_row(1)], [row_at_risk(2)], [])
    await retyped(database, "uuid", "gen_random_uuid()")
    entries = await Entries.of(database)

    assert await entries.shown.counts() == {}
    await entries.forget_ended()

    assert await entries.is_empty()


async def test_two_loops_over_one_table_have_entries_of_their_own(database: Database) -> None:
    await database.execute("ALTER TABLE workflow_executions ADD tenant int DEFAULT 1")
    everything = await filled(database, 2)
    filtered = await Entries.of(database, TableNames(), StatusValues(), read_where("tenant=1"))
    elsewhere = Entries(database, await database.table(), "other")
    for each in (everything, filtered, elsewhere):
        await each.record([stuck_row(1), stuck_row(2)], [], [])

    await everything.record([], [], [1])
    await database.execute("UPDATE workflow_executions SET tenant = 2 WHERE id = 2")
    await everything.forget_ended()
    await filtered.forget_ended()

    assert list((await everything.known([1, 2])).stuck) == [2]
    assert list((await filtered.known([1, 2])).stuck) == [1], "2 is none of its rows any more"
    assert list((await elsewhere.known([1, 2])).stuck) == [1, 2]


async def test_rows_that_share_a_key(database: Database) -> None:
    await database.execute(
        "CREATE TABLE jobs (tenant int, id uuid, workflow_id text, run_id text, created_at"
        " timestamptz, status text, completed_at timestamptz, error_message text,"
        " PRIMARY KEY (tenant, id));"
        "INSERT INTO jobs (tenant, id, workflow_id, status)"
        f" VALUES (1, '{SOME}', 'a', 'running'), (2, '{SOME}', 'b', 'running')"
    )
    entries = await Entries.of(database, TableNames(table="jobs"))

    both = [stuck_row(UUID(SOME), workflow_id=each) for each in "ab"]
    await entries.record(both, [], [UUID(SOME)])
    await entries.forget_ended()

    assert await entries.shown.counts() == {Reason.ACTIVITY_RETRYING: 1}


async def test_a_reason_of_another_version_is_left_out(database: Database) -> None:
    entries = await filled(database)
    await entries.record([stuck_row(1), stuck_row(2)], [], [])
    await database.execute("UPDATE reconciler.stuck SET reason = 'Bewitched' WHERE row_id = '1'")

    assert list((await entries.known([1, 2])).stuck) == [2]
    assert await entries.counts() == {Reason.ACTIVITY_RETRYING: (1, SINCE)}
    assert await entries.shown.counts() == {Reason.ACTIVITY_RETRYING: 1}


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1", "SQL_ASCII", "EUC_JP", "WIN1251"])
async def test_texts_that_cannot_be_stored(postgres_url: str, encoding: str) -> None:
    hostile = "caf\u00e9 \u0416 \u65e5 \u2603 \0 \ud800 \U0001f600 '; --"
    async with encoded(postgres_url, encoding) as database:
        row_id = await database.insert("wf", "run")
        entries = await Entries.of(database)
        fields = dict.fromkeys(("run_id", "workflow_type", "text", "cause"), hostile)
        await entries.record([stuck_row(row_id, workflow_id="wf", **fields)], [], [])

        ((row,),) = [page async for page in entries.shown.rows()]
        (group,) = (await entries.shown.groups()).largest

        known = (await entries.known([row_id])).stuck[row_id]
        assert row.text == row.cause == group.text == known.text == known.workflow_type
        assert "\\x00" in row.text
        assert row.text.endswith("'; --")


async def test_keys_that_cannot_be_read(postgres_url: str) -> None:
    async with encoded(postgres_url, "SQL_ASCII") as database:
        await retyped(database, "text", "id::text")
        await database.execute(
            "INSERT INTO workflow_executions (id, workflow_id) VALUES"
            " (convert_from('\\x61e9', 'SQL_ASCII'), convert_from('\\xe9', 'SQL_ASCII'))"
        )
        entries = await Entries.of(database)

        await entries.record([], [row_at_risk("a\udce9")], [])
        await entries.forget_ended()

        assert list((await entries.known(["a\udce9"])).at_risk) == ["a\udce9"]
        (row,) = await entries.shown.at_risk()
        assert row.row_id == "a\\xe9"
        await entries.record([], [], ["a\udce9"])
        assert await entries.is_empty()


async def test_what_another_pass_is_at_is_not_waited_for(database: Database) -> None:
    entries = await filled(database)
    await entries.record([stuck_row(1), stuck_row(2)], [], [])

    async with database.pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM reconciler.stuck WHERE row_id = '1' FOR UPDATE")
        await entries.record([], [], [1, 2])
        await database.execute("DELETE FROM workflow_executions")
        await entries.forget_ended()

    assert list((await entries.known([1, 2])).stuck) == [1], "that one takes care of it"
