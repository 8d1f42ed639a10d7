"""What a failure converter has moved out of a failure's message, so that a codec can encrypt it.

With `encode_common_attributes` the message of every failure of a chain reads "Encoded failure", and
what it was is in a payload, `{"message": …, "stack_trace": …}` (SDK 1.35). Nothing else that is
encoded matters for our text: types and names stay readable. Pure, as `failure` is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure

from reconciler.temporal.failures.text import chain


def encoded_attributes(failure: Failure) -> list[Payload]:
    """What is encoded in a failure and its causes, outermost first."""
    return [each.encoded_attributes for each in chain(failure) if _is_encoded(each)]


def with_messages(failure: Failure, messages: Sequence[str | None]) -> Failure:
    """The failure with its encoded messages in clear, in the order of `encoded_attributes`.

    None is for one that could not be decoded: what stands there stays.
    """
    clear = Failure()
    clear.CopyFrom(failure)
    encoded = filter(_is_encoded, chain(clear))
    for each, message in zip(encoded, messages, strict=True):
        if message is not None:
            each.message = message
    return clear


def message_in(attributes: object) -> str | None:
    """The message in decoded attributes; None if they are something else."""
    message = attributes.get("message") if isinstance(attributes, Mapping) else None
    if not isinstance(message, str):
        return None
    # JSON may hold half a surrogate pair, which no proto takes.
    return str.encode(message, errors="replace").decode()


def _is_encoded(failure: Failure) -> bool:
    return failure.HasField("encoded_attributes")
