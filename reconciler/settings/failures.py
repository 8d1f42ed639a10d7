"""The settings for failure messages: how they are decoded, and what is redacted."""

from __future__ import annotations

import contextlib
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
from reconciler.settings.types import Duration, between, check_http_url

_IMPORT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e][\x20-\x7e\t]*)")
#: Headers that the reconciler sets.
_OWN_HEADERS = {
    "host", "content-type", "content-length", "transfer-encoding", "connection", "x-namespace",
}  # fmt: skip


def parse_expressions(value: object) -> object:
    """A tuple of regular expressions, from a JSON array of strings or a single expression."""
    if isinstance(value, str):
        value = _from_json(value)
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError("must be a regular expression, or a list of them")
    import regex  # noqa: PLC0415 - 1.5 MB, for those who redact

    for expression in value:
        if any(character < " " for character in expression):
            raise ValueError(
                f"{expression!r} contains a control character: in JSON a backslash is written twice"
            )
        try:
            matches_nothing = regex.compile(expression).search("", timeout=SECONDS)
        except (regex.error, RecursionError, OverflowError, TimeoutError) as error:
            raise ValueError(f"{expression!r} is not a regular expression: {error}") from None
        if matches_nothing:
            raise ValueError(f"{expression!r} matches the empty string, so it would match anything")
    return tuple(value)


def _from_json(text: str) -> object:
    if not (text.startswith("[") and text.endswith("]")):
        return [text]
    # It could be one expression, a set of characters. Or it is a list with a typo in it, which as a
    # set of characters would redact the wrong text.
    with contextlib.suppress(ValueError, RecursionError):
        parsed = json.loads(text)
        if all(isinstance(each, str) for each in parsed):
            return parsed
    raise ValueError(
        'in brackets must be a JSON array of expressions, such as ["[0-9]{16}", "\\\\d+"]'
    )


def check_import(value: str) -> str:
    """A text of the form `module:attribute`, which is not imported here."""
    if not _IMPORT.fullmatch(value):
        raise ValueError("must look like module:attribute, such as myapp.codec:data_converter")
    return value


def check_endpoint(value: str) -> str:
    """The base URL of a codec server. Errors never repeat it: it may contain secrets."""
    url = value.replace("{namespace}", "x")
    check_http_url(url, "https://host:port/path")
    if urlsplit(url).username is not None:
        raise ValueError("contains a user or a password: set RECONCILER_CODEC_HEADERS instead")
    return value


def check_headers(value: SecretStr) -> SecretStr:
    """Header lines, such as `Authorization: Bearer …`. Errors never repeat a value."""
    parse_headers(value)
    return value


def parse_headers(value: SecretStr) -> list[tuple[str, str]]:
    """The names and values of header lines. Raises `ValueError`, without any value."""
    headers = []
    lines = (line.strip() for line in value.get_secret_value().splitlines())
    for number, line in enumerate(filter(None, lines), start=1):
        match = _HEADER.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is not of the form Name: value")
        if match[1].lower() in _OWN_HEADERS:
            raise ValueError(f"{match[1]} is set by the reconciler itself")
        headers.append((match[1], match[2]))
    return headers


class FailureSettings(BaseModel):
    """Passes and the main path use them, so that both write the same text."""

    data_converter: Annotated[str, AfterValidator(check_import)] | None = Field(
        None,
        description="Decodes encoded failures: your Temporal DataConverter, as module:attribute.",
    )
    codec_endpoint: Annotated[str, AfterValidator(check_endpoint)] | None = Field(
        None,
        description="The URL of a codec server that decodes failures instead of a data converter, "
        "without /decode. {namespace} in it stands for the namespace.",
    )
    codec_headers: Annotated[SecretStr, AfterValidator(check_headers)] | None = Field(
        None, description="Headers for the codec server, as Name: value, one per line."
    )
    codec_timeout: Annotated[Duration, between("0.1s", "60s")] = Field(
        timedelta(seconds=5), description="The time limit for decoding one failure, 0.1s to 60s."
    )
    redact: Annotated[tuple[str, ...], BeforeValidator(parse_expressions)] = Field(
        (),
        description="A regular expression, or a JSON array of them. Text that matches is replaced "
        "by [redacted] before a failure is stored, logged or shown.",
    )

    @field_validator("codec_endpoint")
    @classmethod
    def _one_decoder(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("data_converter") is not None:
            raise ValueError("set this or RECONCILER_DATA_CONVERTER, not both")
        return value

    @field_validator("codec_headers")
    @classmethod
    def _need_an_endpoint(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and info.data.get("codec_endpoint", "refused") is None:
            raise ValueError("are for a codec server: set RECONCILER_CODEC_ENDPOINT too")
        return value

    @property
    def decodes(self) -> bool:
        """Whether failures are decoded before they are written."""
        return self.data_converter is not None or self.codec_endpoint is not None

    def decoder(self) -> tuple[str | None, str | None, Sequence[tuple[str, str]]]:
        """The data converter, the URL of the codec server, and its headers."""
        headers = parse_headers(self.codec_headers) if self.codec_headers else []
        return self.data_converter, self.codec_endpoint, headers

    def redaction(self) -> Redaction:
        """What is redacted in failures."""
        if not self.redact:
            return Redaction()
        import regex  # noqa: PLC0415 - as above

        return Redaction(tuple(map(regex.compile, self.redact)))
