"""The encoded attributes of failures: messages moved to a payload that a codec can encrypt.

With `encode_common_attributes` the message of every failure of a chain is "Encoded failure", and
the original is in a payload, `{"message": …, "stack_trace": …}` (SDK 1.35). Nothing else that is
encoded matters for our text: types and names stay readable. Pure, like `text`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure

from reconciler.temporal.failures.text import chain

#: The message of a failure whose own was not decoded.
PLACEHOLDER = "Encoded failure"


def encoded_attributes(failure: Failure) -> list[Payload]:
    """The encoded attributes of a failure and its causes, outermost first."""
    return [each.encoded_attributes for each in chain(failure) if _is_encoded(each)]


def with_messages(failure: Failure, messages: Sequence[str | None]) -> Failure:
    """The failure with its messages decoded, in the order of `encoded_attributes`.

    None leaves a message as it is: it could not be decoded.
    """
    decoded = Failure()
    decoded.CopyFrom(failure)
    encoded = filter(_is_encoded, chain(decoded))
    for each, message in zip(encoded, messages, strict=True):
        if message is not None:
            each.message = message
    return decoded


def message_in(attributes: object) -> str | None:
    """The message in decoded attributes; None if there is none."""
    message = attributes.get("message") if isinstance(attributes, Mapping) else None
    if not isinstance(message, str):
        return None
    # JSON may contain half a surrogate pair, which a proto cannot hold.
    return str.encode(message, errors="replace").decode()


def _is_encoded(failure: Failure) -> bool:
    return failure.HasField("encoded_attributes")
