"""The settings for decoding and redacting failures."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.core.errors import ConfigurationError
from reconciler.settings.load import load_settings
from reconciler.settings.table import TableSettings
from tests.unit.settings.conftest import SECRET, load, refusal_of


def test_by_default_nothing_is_decoded_or_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)

    assert (settings.decodes, settings.decoder(), settings.redact) == (False, (None, None, []), ())
    assert settings.codec_timeout == timedelta(seconds=5)


@pytest.mark.parametrize(
    ("value", "expressions"),
    [
        pytest.param(r"\w+@\w+", [r"\w+@\w+"], id="one expression"),
        pytest.param("[abc]+", ["[abc]+"], id="starts like JSON"),
        pytest.param(json.dumps([r"\d{4}", "x,y"]), [r"\d{4}", "x,y"], id="a JSON array"),
        pytest.param("[]", [], id="an empty array"),
    ],
)
def test_expressions_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, expressions: list[str]
) -> None:
    found = load(monkeypatch, REDACT=value).redaction().patterns

    assert [pattern.pattern for pattern in found] == expressions


@pytest.mark.parametrize(
    ("toml", "expressions"),
    [("redact = 'a+'", ["a+"]), (r"redact = ['\d{4}', 'a,b']", [r"\d{4}", "a,b"])],
)
def test_expressions_from_a_file(toml: str, expressions: list[str]) -> None:
    Path("reconciler.toml").write_text(toml)

    assert list(load_settings(TableSettings).redact) == expressions


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            "(", "'(' is not a regular expression: missing ) at position 1", id="does not compile"
        ),
        pytest.param('["a", "b{2,1}"]', "'b{2,1}' is not a regular expression: ", id="one of two"),
        pytest.param("x*", "'x*' matches the empty string", id="matches everywhere"),
        pytest.param("", "'' matches the empty string", id="empty"),
        pytest.param("[abc]", "in brackets must be a JSON array", id="a set or a list"),
        pytest.param('["ada",]', "in brackets must be a JSON array", id="trailing comma"),
        pytest.param("['ada']", "in brackets must be a JSON array", id="single quotes"),
        pytest.param('["a", 3]', "in brackets must be a JSON array", id="a number"),
        pytest.param(
            r'["\bada\b"]', r"'\x08ada\x08' contains a control character", id="one backslash"
        ),
    ],
)
def test_invalid_expressions(monkeypatch: pytest.MonkeyPatch, value: str, expected: str) -> None:
    assert refusal_of(monkeypatch, REDACT=value).startswith(f"RECONCILER_REDACT: {expected}")


def test_a_list_of_numbers_is_rejected() -> None:
    Path("reconciler.toml").write_text("redact = [1]")

    with pytest.raises(
        ConfigurationError, match=r"reconciler\.toml: redact: must be a regular expr"
    ):
        load_settings(TableSettings)


@pytest.mark.parametrize("value", ["codec", "codec:", ":x", "my codec:x", "a/b.py:x", "a:b:c"])
def test_invalid_names_of_a_data_converter(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    expected = refusal_of(monkeypatch, DATA_CONVERTER=value)

    assert expected.startswith("RECONCILER_DATA_CONVERTER: must look like module:attribute")


@pytest.mark.parametrize(
    "value",
    [
        "codec:8080",
        "ftp://codec",
        "http://",
        "https://codec:port",
        "https://codec/x?y=1",
        "https://codec/ä",
        f"https://user:{SECRET}@codec",
        f"https://{SECRET}@codec",
    ],
)
def test_invalid_endpoints(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert refusal_of(monkeypatch, CODEC_ENDPOINT=value).startswith("RECONCILER_CODEC_ENDPOINT: ")


def test_a_codec_server(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        monkeypatch,
        CODEC_ENDPOINT="https://codec.example:8443/{namespace}",
        CODEC_HEADERS=f"Authorization: Bearer {SECRET}\n\n X-Team:  ops \n",
        CODEC_TIMEOUT="2s",
    )

    assert settings.decodes
    assert settings.decoder() == (
        None,
        "https://codec.example:8443/{namespace}",
        [("Authorization", f"Bearer {SECRET}"), ("X-Team", "ops")],
    )
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (SECRET, "line 1 is not of the form Name: value"),
        (f"A: b\nX Y: {SECRET}", "line 2 is not of the form"),
        (f"A: {SECRET}\x01", "line 1 is not of the form"),
        (f"Host: {SECRET}", "Host is set by the reconciler itself"),
    ],
)
def test_invalid_headers_are_rejected_without_their_value(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: str
) -> None:
    line = refusal_of(monkeypatch, CODEC_ENDPOINT="https://codec", CODEC_HEADERS=value)

    assert line.lower().startswith(f"RECONCILER_CODEC_HEADERS: {expected}".lower())


def test_headers_without_a_codec_server(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = refusal_of(monkeypatch, CODEC_HEADERS=f"A: {SECRET}")

    assert "set RECONCILER_CODEC_ENDPOINT too" in expected


def test_a_data_converter_and_a_codec_server_exclude_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = refusal_of(monkeypatch, DATA_CONVERTER="a:b", CODEC_ENDPOINT="https://codec")

    assert expected == "RECONCILER_CODEC_ENDPOINT: set this or RECONCILER_DATA_CONVERTER, not both"


@pytest.mark.parametrize("value", ["0", "61s", "soon"])
def test_the_timeout_is_limited(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert "RECONCILER_CODEC_TIMEOUT: " in refusal_of(monkeypatch, CODEC_TIMEOUT=value)
