"""Points in time as an operator types them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.settings.types import parse_moment
from tests.support.factories import NOW


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90d", NOW - timedelta(days=90)),
        ("1.5h", NOW - timedelta(minutes=90)),
        ("30M", NOW - timedelta(minutes=30)),
        (" 10 s ", NOW - timedelta(seconds=10)),
        ("2w", NOW - timedelta(days=14)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31 12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_a_timestamp_or_an_age(text: str, expected: datetime) -> None:
    moment = parse_moment(text)

    assert moment.by(NOW) == expected
    assert moment.by(NOW).utcoffset() == timedelta()
    assert str(moment) == text


@pytest.mark.parametrize(
    "text", ["", "90", "90x", "-5d", "yesterday", "2026-13-01", "9999999d", "1e400d", "90d 5h"]
)
def test_anything_else_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="must be a timestamp"):
        parse_moment(text)
