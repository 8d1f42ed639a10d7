"""Which decoder there is."""

from __future__ import annotations

import sys

import pytest

from reconciler.core.errors import ConfigurationError
from reconciler.temporal.failures.decoders import make_decoder

MODULE = "reconciler.temporal.failures.codec_server"


def test_a_codec_server_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)

    with pytest.raises(ConfigurationError) as error:
        make_decoder(None, "https://codec", [])

    assert str(error.value) == (
        "RECONCILER_CODEC_ENDPOINT needs the package httpx: pip install httpx, or the extra "
        "temporal-reconciler[codec]"
    )
    assert make_decoder(None, None, []) is None
