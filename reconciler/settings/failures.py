"""What becomes of the texts of failures: what is cut out of them."""

from __future__ import annotations

import json
import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field
from pydantic_settings import NoDecode

from reconciler.core.redaction import Redaction


def parse_expressions(value: object) -> object:
    """A list of regular expressions: from a JSON array of strings, or one expression as it is."""
    if isinstance(value, str):
        value = _from_json(value)
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError("must be a regular expression, or a list of them")
    for expression in value:
        try:
            matches_nothing = re.compile(expression).search("")
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"{expression!r} is no regular expression: {error}") from None
        if matches_nothing:
            raise ValueError(f"{expression!r} matches the empty string, so it would match anything")
    return tuple(value)


def _from_json(text: str) -> list[str]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return [text]
    is_list = isinstance(parsed, list) and all(isinstance(each, str) for each in parsed)
    return parsed if is_list else [text]


class FailureSettings(BaseModel):
    """The same for a pass and for the main path, so that both write the same text."""

    redact: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_expressions)] = Field(
        (), description="regular expressions; what matches is cut out of failures"
    )

    def redaction(self) -> Redaction:
        """What is cut out of failures."""
        return Redaction(tuple(map(re.compile, self.redact)))
