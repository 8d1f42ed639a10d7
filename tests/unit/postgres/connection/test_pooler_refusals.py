"""Refusals of PgBouncer 1.18, word for word, and the fix for each."""

from __future__ import annotations

import pytest

from reconciler.postgres.connection.pooler_refusals import known_refusal

HUNG_UP = "connection was closed in the middle of operation"


@pytest.mark.parametrize(
    ("sqlstate", "text", "fix", "lasts"),
    [
        ("08P01", "unsupported startup parameter: options", "take it out of", True),
        ("08P01", "unsupported startup parameter in options: x", "take it out of", True),
        ("08P01", 'database "nowhere" does not exist', "check", True),
        ("08P01", "no such database: nowhere", "check", True),
        ("08P01", "no such user: nobody", "check", True),
        ("08P01", "password authentication failed", "check", True),
        ("08P01", "SASL authentication failed", "check", True),
        (
            "08003",
            f"{HUNG_UP}: transaction blocks not allowed in statement pooling mode",
            "pool_mode",
            True,
        ),
        ("08003", f"{HUNG_UP}: query_wait_timeout", "default_pool_size", False),
    ],
)
def test_known_words(sqlstate: str, text: str, fix: str, lasts: bool) -> None:
    refusal = known_refusal(sqlstate, text)

    assert refusal is not None
    assert fix in refusal.fix
    assert refusal.lasts is lasts


@pytest.mark.parametrize(
    ("sqlstate", "text"),
    [
        pytest.param("08003", HUNG_UP, id="nothing was said"),
        pytest.param("08P01", "server login has been failing", id="PostgreSQL is unreachable"),
        pytest.param("42P01", 'relation "no such user" does not exist', id="PostgreSQL's own"),
        pytest.param("", "query_wait_timeout", id="not from a database"),
    ],
)
def test_other_words(sqlstate: str, text: str) -> None:
    assert known_refusal(sqlstate, text) is None
