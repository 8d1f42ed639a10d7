"""The settings for the values of the status column, and how they are parsed."""

from __future__ import annotations

import csv
import json
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from reconciler.settings.types import Name, contradiction, none_if_empty


def parse_values(value: object) -> object:
    """`pending,running`, or `["pending", null]` as in JSON, as a tuple.

    In the former a value with a comma in it is written in double quotes.
    """
    read = _split_values(value) if isinstance(value, str) else value
    if not isinstance(read, list):
        return read
    values = tuple(map(as_value, read))
    if any(value in values[:place] for place, value in enumerate(values)):
        raise ValueError("names a value twice")
    return values


def _split_values(text: str) -> object:
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            reason = f"{error.msg} at character {error.pos + 1}"
            raise ValueError(
                f'begins with [ but is not JSON such as ["a", null]: {reason}'
            ) from None
    try:
        read = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise ValueError(f"cannot be read: {error}") from None
    return [each.strip() for each in read]


def as_value(value: object) -> object:
    """A value of JSON or TOML as PostgreSQL writes it: numbers and booleans as text."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


Status = Annotated[Name, BeforeValidator(as_value)]
OptionalStatus = Annotated[Name | None, BeforeValidator(as_value), BeforeValidator(none_if_empty)]
Values = Annotated[tuple[Name | None, ...], BeforeValidator(parse_values), Field(min_length=1)]


class Statuses(BaseModel):
    """The values of the status column."""

    model_config = ConfigDict(extra="forbid")

    running: Values = Field(
        ("running",),
        description="Passes read the rows with this value, or with one of several, as in "
        "pending,running. A value that contains a comma goes in double quotes. Or JSON, where null "
        'stands for rows without a status: ["queued", null].',
    )
    completed: OptionalStatus = Field(
        "completed",
        description="Written for COMPLETED. Empty: rows whose workflow completed are left and "
        "counted, because only the application knows whether that is a success.",
    )
    failed: Status = Field("failed", description="Written for FAILED.")
    canceled: Status | None = Field(
        None, description="Written for CANCELED; if not set, the value for FAILED is written."
    )
    terminated: Status | None = Field(
        None, description="Written for TERMINATED; if not set, the value for FAILED is written."
    )
    timed_out: Status | None = Field(
        None, description="Written for TIMED_OUT; if not set, the value for FAILED is written."
    )

    @model_validator(mode="after")
    def _ends(self) -> Statuses:
        for end in ("completed", "failed", "canceled", "terminated", "timed_out"):
            if (value := getattr(self, end)) is not None and value in self.running:
                raise contradiction(
                    f"{value!r} cannot stand for both running and finished rows",
                    *("running", end),
                )
        return self
