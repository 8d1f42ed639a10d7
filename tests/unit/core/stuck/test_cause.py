from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.core.stuck.cause import CAUSE_LIMIT, stable, stable_name

UUID = "01933b6e-7e1f-7a3b-9c58-2f6f0d2f1a77"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        pytest.param("QuotaExceeded: zone limit is 50", "QuotaExceeded: zone limit is N", id="int"),
        pytest.param("took 1.5 of -3e-05", "took N of N", id="decimals"),
        pytest.param("1,000 rows", "N rows", id="thousands"),
        pytest.param("10.0.0.1:5432 refused", "N refused", id="address and port"),
        pytest.param("after 1m3.5s, after 59s", "after N, after N", id="durations"),
        pytest.param("at 12:03:07, now", "at N, now", id="time of day"),
        pytest.param("at 2026-11-30T12:03:07.123Z, now", "at N, now", id="timestamp"),
        pytest.param("on 2026-11-30 12:03:07+01:00 and 2026-11-30", "on N and N", id="more"),
        pytest.param(f"tenant {UUID} is locked", "tenant N is locked", id="UUID"),
        pytest.param("at 0x7f3a5c0d", "at N", id="address in memory"),
        pytest.param("commit 9f86d081884c7d65", "commit N", id="hexadecimal id"),
        pytest.param("invoice 01ARZ3NDEKTSV4RRFFQ69G5FAV", "invoice N", id="ULID"),
        pytest.param("no 'order-77' in \"a/b-7\"", "no N in N", id="quoted ids"),
        pytest.param("KeyError: 'zone'", "KeyError: 'zone'", id="a quoted word stays"),
        pytest.param("mail to ada@example.com failed", "mail to N failed", id="e-mail address"),
        pytest.param("Http2Error: s3 utf8", "HttpNError: sN utfN", id="words with a number"),
        pytest.param("order_12 and cust9", "order_N and custN", id="a number in a name"),
        pytest.param("order-77: no stock", "N: no stock", id="its own id"),
        pytest.param("reorder-77x", "reorder-Nx", id="not its own id"),
        pytest.param("a\n b\x00\x1b[2Jc", "a b [NJc", id="control characters"),
    ],
)
def test_what_differs_from_one_workflow_to_the_next_is_replaced(text: str, cause: str) -> None:
    assert stable(text, "order-77") == cause


@pytest.mark.parametrize(
    ("name", "stays"),
    [
        pytest.param("orders-2", "orders-2", id="numbers stay"),
        pytest.param("deadbeef", "deadbeef", id="words stay"),
        pytest.param(f"host-{UUID}", "host-N", id="UUID"),
        pytest.param("host-9f86d081884c7d65", "host-N", id="hexadecimal id"),
        pytest.param("only-order-77", "only-N", id="its own id"),
    ],
)
def test_a_name_keeps_its_numbers(name: str, stays: str) -> None:
    assert stable_name(name, "order-77") == stays


# Without `x`, which makes a hexadecimal number of some numbers.
words = st.text("abcqyzé :'\"([", max_size=12)


@given(
    st.lists(words, min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0), st.integers(0)), min_size=5, max_size=5),
)
@example(["cust", ""], [(9, 10)] * 5)
@example(["abc", "abcdef"], [(9, 1234567890)] * 5)
def test_other_numbers_make_no_other_cause(
    texts: list[str], numbers: list[tuple[int, int]]
) -> None:
    def filled(which: int) -> str:
        pairs = zip(texts, [""] + [str(each[which]) for each in numbers], strict=False)
        return "".join(number + text for text, number in pairs)

    assert stable(filled(0)) == stable(filled(1))


@given(st.text(), st.text(max_size=5))
def test_a_cause_is_one_bounded_line_and_stays_as_it_is(text: str, own: str) -> None:
    cause = stable(text, own)
    assert len(cause) <= CAUSE_LIMIT
    assert cause.splitlines() in ([], [cause])


@pytest.mark.parametrize(
    "text", ["a" * 2_000_000, "1a" * 1_000_000, "a@" * 1_000_000, '"1' * 10**6]
)
def test_two_megabytes_are_bounded(text: str) -> None:
    assert len(stable(text)) <= CAUSE_LIMIT
