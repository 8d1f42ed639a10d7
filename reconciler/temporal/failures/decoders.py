"""Which decoder there is, if any."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from reconciler.core.errors import ConfigurationError
from reconciler.temporal.failures.data_converter import ConverterDecoder, load_converter
from reconciler.temporal.failures.decoding import Decoder, Decoding


def make_decoder(
    data_converter: str | None, codec_endpoint: str | None, codec_headers: Sequence[tuple[str, str]]
) -> Decoder | None:
    """The team's data converter by its import string, or its codec server; None for neither.

    Raises `ConfigurationError` if it cannot be had.
    """
    if data_converter is not None:
        return ConverterDecoder(load_converter(data_converter))
    if codec_endpoint is not None:
        try:
            from reconciler.temporal.failures.codec_server import CodecServer  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"RECONCILER_CODEC_ENDPOINT needs the package {error.name}: pip install "
                f"{error.name}, or the extra temporal-reconciler[codec]"
            ) from None
        return CodecServer(codec_endpoint, codec_headers)
    return None


@asynccontextmanager
async def using_decoder(decoder: Decoder | None, seconds: float) -> AsyncIterator[Decoding | None]:
    """Decoding with it, `seconds` at most for a failure; closes it in the end."""
    if decoder is None:
        yield None
        return
    decoding = Decoding(decoder, seconds)
    try:
        yield decoding
    finally:
        decoding.log_undecoded()  # of what was outside of a pass
        await decoder.close()
