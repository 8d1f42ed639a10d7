"""The settings about failure messages: how they are decoded, and what is redacted."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from reconciler.core.redaction import SECONDS, Redaction
from reconciler.settings.types import MAX_PORT, Duration

_IMPORT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e][\x20-\x7e\t]*)")
#: Headers that the client sets.
_OWN_HEADERS = {
    "host", "content-type", "content-length", "transfer-encoding", "connection", "x-namespace",
}  # fmt: skip


def parse_expressions(value: object) -> object:
    """A tuple of regular expressions, from a JSON array of strings or from one expression."""
    if isinstance(value, str):
        value = _from_json(value)
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError("must be a regular expression, or a list of them")
    import regex  # noqa: PLC0415 - 1.5 MB, for those who redact

    for expression in value:
        if any(character < " " for character in expression):
            raise ValueError(
                f"{expression!r} holds a control character: in JSON a backslash is written twice"
            )
        try:
            matches_nothing = regex.compile(expression).search("", timeout=SECONDS)
        except (regex.error, RecursionError, OverflowError, TimeoutError) as error:
            raise ValueError(f"{expression!r} is not a regular expression: {error}") from None
        if matches_nothing:
            raise ValueError(f"{expression!r} matches the empty string, so it would match anything")
    return tuple(value)


def _from_json(text: str) -> list[str]:
    if not (text.startswith("[") and text.endswith("]")):
        return [text]
    # It could be one expression, a set of characters. Or it is a list with a typo in it, which as a
    # set of characters would redact the wrong text.
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, list) or not all(isinstance(each, str) for each in parsed):
        raise ValueError(
            'in brackets must be a JSON array of expressions, such as ["[0-9]{16}", "\\\\d+"]'
        )
    return parsed


def check_import(value: str) -> str:
    """`module:attribute`, by its form."""
    if not _IMPORT.fullmatch(value):
        raise ValueError("must look like module:attribute, such as myapp.codec:data_converter")
    return value


def check_endpoint(value: str) -> str:
    """The base URL of a codec server. Errors never repeat it: it may hold secrets."""
    try:
        parts = urlsplit(value.replace("{namespace}", "x"))
        port = parts.port or 0
    except ValueError:
        raise ValueError("must look like https://host:port/path") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not 0 <= port <= MAX_PORT:
        raise ValueError("must look like https://host:port/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("has a user or a password in it: set RECONCILER_CODEC_HEADERS instead")
    if parts.query or parts.fragment or not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ValueError("must be a URL without query, fragment, or characters to be encoded")
    return value


def check_headers(value: SecretStr) -> SecretStr:
    """Header lines, such as `Authorization: Bearer …`. Errors never repeat a value."""
    for number, line in enumerate(_lines(value), start=1):
        match = _HEADER.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is not of the form Name: value")
        if match[1].lower() in _OWN_HEADERS:
            raise ValueError(f"{match[1]} is set by the reconciler itself")
    return value


def check_timeout(value: timedelta) -> timedelta:
    """Long enough for an answer, and short enough not to delay a pass."""
    if not timedelta(milliseconds=100) <= value <= timedelta(seconds=60):
        raise ValueError("must be at least 0.1s and at most 60s")
    return value


def _lines(headers: SecretStr) -> list[str]:
    return [line.strip() for line in headers.get_secret_value().splitlines() if line.strip()]


class FailureSettings(BaseModel):
    """Used by passes and by the main path, so that both write the same text."""

    data_converter: Annotated[str, AfterValidator(check_import)] | None = Field(
        None,
        description="Decodes encoded failures: your Temporal DataConverter, as module:attribute.",
    )
    codec_endpoint: Annotated[str, AfterValidator(check_endpoint)] | None = Field(
        None,
        description="Decodes encoded failures instead: the URL of a codec server, without /decode. "
        "{namespace} in it stands for the namespace.",
    )
    codec_headers: Annotated[SecretStr, AfterValidator(check_headers)] | None = Field(
        None, description="Headers for the codec server, as Name: value, one on each line."
    )
    codec_timeout: Annotated[Duration, AfterValidator(check_timeout)] = Field(
        timedelta(seconds=5), description="How long decoding one failure may take, 0.1s to 60s."
    )
    redact: Annotated[tuple[str, ...], BeforeValidator(parse_expressions)] = Field(
        (),
        description="A regular expression, or a JSON array of them. What matches is replaced by "
        "[redacted] before a failure is stored, logged or shown.",
    )

    @field_validator("codec_endpoint")
    @classmethod
    def _one_decoder(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("data_converter") is not None:
            raise ValueError("set this or RECONCILER_DATA_CONVERTER, not both")
        return value

    @field_validator("codec_headers")
    @classmethod
    def _of_an_endpoint(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and info.data.get("codec_endpoint", "refused") is None:
            raise ValueError("are for a codec server: set RECONCILER_CODEC_ENDPOINT too")
        return value

    @property
    def decodes(self) -> bool:
        """Whether failures are decoded before they are written."""
        return self.data_converter is not None or self.codec_endpoint is not None

    def decoder(self) -> tuple[str | None, str | None, Sequence[tuple[str, str]]]:
        """The data converter, or the codec server and its headers."""
        lines = _lines(self.codec_headers) if self.codec_headers else []
        headers = [(match[1], match[2]) for line in lines if (match := _HEADER.fullmatch(line))]
        return self.data_converter, self.codec_endpoint, headers

    def redaction(self) -> Redaction:
        """What is redacted in failures."""
        if not self.redact:
            return Redaction()
        import regex  # noqa: PLC0415 - as above

        return Redaction(tuple(map(regex.compile, self.redact)))
