"""Read optional values of Temporal's messages: unset, impossible and unknown ones are None."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.common.v1 import SearchAttributes

from reconciler.temporal.client.error_codes import NotNow
from reconciler.temporal.client.execution_info import to_datetime


def part(of: Message, name: str) -> Message | None:
    """A field that is a message; None if it is not set, or the oldest supported SDK lacks it."""
    if name not in of.DESCRIPTOR.fields_by_name or not of.HasField(name):
        return None
    found: Message = getattr(of, name)
    return found


def moment(of: Message, name: str) -> datetime | None:
    """A time; None also for year 1, which Go writes for none."""
    if not of.HasField(name):
        return None
    try:
        return to_datetime(getattr(of, name))
    except NotNow:
        return None


def span(of: Message, name: str) -> timedelta | None:
    """A duration; None also for zero, which stands for no limit."""
    given: Duration = getattr(of, name)
    try:
        found = given.ToTimedelta()
    except (ValueError, OverflowError):
        return None
    return found if found > timedelta(0) else None


def keywords(attributes: SearchAttributes, name: str) -> Sequence[str]:
    """The values of a search attribute that is a list of keywords."""
    if name not in attributes.indexed_fields:
        return ()
    try:
        found = json.loads(attributes.indexed_fields[name].data)
    except (ValueError, RecursionError):
        return ()
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else ()
