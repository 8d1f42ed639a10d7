"""The encoded messages of a failure, and the failure with decoded ones."""

from __future__ import annotations

import pytest
from temporalio.api.failure.v1 import Failure

from reconciler.temporal.failures.encoded_attributes import (
    encoded_attributes,
    message_in,
    with_messages,
)
from reconciler.temporal.failures.text import MAX_DEPTH, describe_failure
from tests.support.temporal.failures import PLACEHOLDER, in_activity, refused


def test_the_encoded_failures_of_a_chain_are_found_outermost_first() -> None:
    inner = refused("inner")
    between = Failure(message="plain", cause=inner)
    outer = refused("outer", cause=between)

    assert encoded_attributes(outer) == [outer.encoded_attributes, inner.encoded_attributes]
    assert encoded_attributes(Failure(message="plain")) == []


def test_a_decoded_failure_reads_like_one_that_was_never_encoded() -> None:
    failure = in_activity(refused())
    before = failure.SerializeToString()

    decoded = with_messages(failure, ["Activity task failed", "no money"])

    assert describe_failure(decoded) == "activity charge failed: Refused: no money"
    assert failure.SerializeToString() == before


def test_an_undecodable_message_stays_as_it_is() -> None:
    failure = refused(cause=refused())

    assert describe_failure(with_messages(failure, [None, "no money"])) == (
        f"Refused: {PLACEHOLDER}: Refused: no money"
    )


def test_a_chain_is_decoded_only_as_far_as_it_is_described() -> None:
    failure = refused()
    for _ in range(MAX_DEPTH + 5):
        failure = refused(cause=failure)

    assert len(encoded_attributes(failure)) == MAX_DEPTH
    with_messages(failure, ["x"] * MAX_DEPTH)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"message": "no money", "stack_trace": ""}, "no money"),
        ({"message": ""}, ""),
        ({"message": "half \ud800 a pair"}, "half ? a pair"),
        ({"message": 5}, None),
        ({"stack_trace": ""}, None),
        (["message"], None),
        ("message", None),
        (None, None),
    ],
)
def test_the_message_in_attributes(attributes: object, message: str | None) -> None:
    assert message_in(attributes) == message
    if message is not None:
        with_messages(refused(), [message])


def test_a_message_is_plain_text_even_if_a_converter_returns_a_subclass() -> None:
    class Text(str):
        def encode(self, *_: object, **__: object) -> bytes:
            raise ValueError

    assert message_in({"message": Text("no money")}) == "no money"
