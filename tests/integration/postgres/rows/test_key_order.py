"""The order of keys of any type: a sweep goes through it, and is recorded on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest

from reconciler.core.model import RowId
from reconciler.core.policy import StatusValues
from reconciler.core.ports import Reach
from reconciler.core.report.sweep import Rest
from reconciler.core.window import Window
from reconciler.postgres.rows import key_order
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.keys import key_to_json
from reconciler.postgres.table.names import TableNames
from reconciler.postgres.table.row_filter import Condition, RowFilter
from tests.conftest import Database
from tests.support.factories import NOW
from tests.support.tables.windows import insert_at

#: Keys in their order, as the type has them.
KEYS: Mapping[str, tuple[str, ...]] = {
    "bigint": ("-9223372036854775808", "-5", "0", "9223372036854775807"),
    "smallint": ("-5", "7"),
    "uuid": ("00000000-0000-0000-0000-000000000000", "01a213b5-697d-7cfc-bf26-de369cbc1bbd"),
    "text": ("", "B", "a", "ü", "\U000e0041"),
    'varchar(9) COLLATE "C"': ("B", "a", "b", "ü"),
    "char(5)": ("a", "ab", "abcde"),
    "mood": ("sad", "glad", "happy"),
    "numeric": ("-Infinity", "-1.50", "2", "1e30", "Infinity", "NaN"),
    "float8": ("-Infinity", "-1.5", "0.1", "Infinity", "NaN"),
    "boolean": ("false", "true"),
    "bytea": ("\\x", "\\x00ff", "\\xff"),
    "inet": ("10.0.0.0/8", "10.0.0.1", "::1"),
    "cidr": ("10.0.0.0/8", "10.1.0.0/16"),
    "macaddr": ("08:00:2b:01:02:03", "08:00:2b:01:02:04"),
    "oid": ("7", "4294967295"),
}


async def keyed(
    database: Database, kind: str, keys: tuple[str, ...], unique: str = "PRIMARY KEY (id)"
) -> PostgresStore:
    await database.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'glad', 'happy');"
        f"CREATE TABLE keyed (id {kind}, tenant int, workflow_id text, run_id text, created_at"
        " timestamptz DEFAULT now(), status text DEFAULT 'running', completed_at timestamptz,"
        f" error_message text, {unique})"
    )
    for number, key in enumerate(keys):
        literal = key.replace("'", "''")
        await database.execute(f"INSERT INTO keyed (id, tenant) VALUES ('{literal}', {number})")
    return await store_of(database)


async def store_of(database: Database) -> PostgresStore:
    return PostgresStore(database.engine, await database.table(TableNames(table="keyed")))


async def last_of(store: PostgresStore) -> RowId:
    last = await store.last_running()
    assert last is not None
    return last


@pytest.mark.parametrize("kind", KEYS)
async def test_a_sweep_goes_through_keys_of_any_type(database: Database, kind: str) -> None:
    """Row by row, its state recorded as JSON after each."""
    store, found = await keyed(database, kind, KEYS[kind]), list[str]()
    rest: Rest | None = Rest(None, await last_of(store))
    while rest is not None:
        rest = await store.read_rest(through_json(rest))
        assert rest is not None
        reached = await store.reach(rest.after, rest.until, 1)
        if reached.last is None:
            break
        (row,) = await store.scan_running(rest.after, reached.last, 9)
        found.append(str(row.id))
        rest = Rest(reached.last, rest.until)

    assert len(found) == len(set(found)) == len(KEYS[kind])
    in_order = await database.fetch("SELECT id FROM keyed ORDER BY id")
    assert found == [str(row["id"]) for row in in_order]


def through_json(rest: Rest) -> Rest:
    keys: list[Any] = json.loads(json.dumps([key_to_json(rest.after), key_to_json(rest.until)]))
    return Rest(*keys)


@pytest.mark.parametrize("kind", ["bigint", "text"])
async def test_a_statement_skips_a_limited_number_of_rows(
    database: Database, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await keyed(database, kind, tuple(str(number) for number in range(1, 9)))
    monkeypatch.setattr(key_order, "SKIPPED_AT_ONCE", 3)
    last = await last_of(store)

    assert (await store.reach(None, last, 99)).rows == 8
    for rows in (2, 3, 4, 7, 8):
        assert str((await store.reach(None, last, rows)).last) == str(rows)


async def test_keys_that_repeat_are_counted_each_and_never_divided(database: Database) -> None:
    one, two, three = (str(UUID(int=number)) for number in (1, 2, 3))
    keys = one, two, two, two, three
    store, until = await keyed(database, "uuid", keys, "PRIMARY KEY (tenant, id)"), UUID(three)

    assert await store.reach(None, until, 9) == Reach(5, until)
    assert await store.reach(None, until, 2) == Reach(2, UUID(two))
    assert len(await store.scan_running(None, UUID(two), 9)) == 4, "it ends after all of them"
    assert await store.reach(UUID(two), until, 9) == Reach(1, until)


async def test_partitions_have_one_order(database: Database) -> None:
    await database.execute(
        "CREATE TABLE keyed (id bigint, workflow_id text, run_id text, created_at timestamptz,"
        " status text DEFAULT 'running', completed_at timestamptz, error_message text,"
        " PRIMARY KEY (id)) PARTITION BY HASH (id);"
        "CREATE TABLE keyed_0 PARTITION OF keyed FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE keyed_1 PARTITION OF keyed FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "INSERT INTO keyed (id) SELECT generate_series(1, 20)"
    )
    store = await store_of(database)

    assert await store.reach(5, 20, 7) == Reach(7, 12)


async def test_only_rows_of_the_filter_and_the_window_count(database: Database) -> None:
    first, *_, last = await insert_at(database, *[NOW] * 3, workflow_type="ours")
    await insert_at(database, NOW, workflow_type="theirs")
    ours = RowFilter((Condition("workflow_type", ("ours",)),))
    table = await database.table(TableNames(), StatusValues(), ours)

    assert await PostgresStore(database.engine, table).reach(None, 99, 9) == Reach(3, last)
    window = PostgresStore(database.engine, table, Window(until=NOW))
    assert await window.reach(None, 99, 9) == Reach(0, None)
    assert first < last


@pytest.mark.parametrize(
    ("before", "key", "after", "using"),
    [
        ("bigint", "3000000000", "integer", "1"),
        ("bigint", "7", "text", "id::text"),
        ("bigint", "7", "uuid", "gen_random_uuid()"),
        ("text", "seven", "bigint", "7"),
        ("text", "seven", "uuid", "gen_random_uuid()"),
        ("text", "seven", "numeric", "7"),
        ("text", "seven", "mood", "'sad'::mood"),
        ("uuid", "01a213b5-697d-7cfc-bf26-de369cbc1bbd", "inet", "'::1'::inet"),
        ("numeric", "1e30", "numeric(5)", "7"),
        ("numeric", "1.5", "boolean", "true"),
        ("boolean", "true", "integer", "7"),
        ("bytea", "\\x00", "uuid", "gen_random_uuid()"),
        ("bytea", "\\x00ff", "text", "'a'"),
    ],
)
async def test_recorded_keys_of_another_type_are_not_taken_for_ours(
    database: Database, before: str, key: str, after: str, using: str
) -> None:
    store = await keyed(database, before, (key,))
    recorded = through_json(Rest(None, await last_of(store)))
    await database.execute(
        "UPDATE keyed SET id = id; ALTER TABLE keyed DROP CONSTRAINT keyed_pkey;"
        f"ALTER TABLE keyed ALTER id TYPE {after} USING {using};"
        "ALTER TABLE keyed ADD PRIMARY KEY (id)"
    )

    assert await (await store_of(database)).read_rest(recorded) is None


async def test_a_recorded_key_may_be_a_text_that_fits_another_type(database: Database) -> None:
    """Then the round continues there; whatever it misses is for the next one."""
    store = await keyed(database, "uuid", KEYS["uuid"])
    recorded = through_json(Rest(None, await last_of(store)))
    await database.execute("ALTER TABLE keyed ALTER id TYPE text USING id::text")

    assert await (await store_of(database)).read_rest(recorded) == recorded
