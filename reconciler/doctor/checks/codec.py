"""Check that encoded failures can be decoded: try the team's codec on a sample."""

from __future__ import annotations

from reconciler.core.errors import ConfigurationError
from reconciler.core.text import one_line
from reconciler.doctor.findings import LIMIT, Finding, of_error, ok, warning
from reconciler.doctor.runner import CHECK_TIMEOUT
from reconciler.settings.model import Settings
from reconciler.temporal.failures.decoders import make_decoder
from reconciler.temporal.failures.decoding import try_sample

CODEC = "codec"


async def check_codec(settings: Settings, namespace: str) -> Finding:
    """Create the decoder, as every command does, and let it encode and decode a sample.

    A decoder that cannot be created is a failure. One that does not decode is a warning: passes
    work, and messages stay encoded. Runs the team's code, which blocks until its first await.
    """
    converts = settings.data_converter is not None
    fix = "check RECONCILER_DATA_CONVERTER"
    if not converts:
        fix = "check RECONCILER_CODEC_ENDPOINT and RECONCILER_CODEC_HEADERS"
    try:
        decoder = make_decoder(*settings.decoder())
    except ConfigurationError as error:
        return of_error(CODEC, error, fix)
    if decoder is None:
        return ok(CODEC, "none: failures are written as Temporal has them")
    try:
        seconds = min(settings.codec_timeout.total_seconds(), CHECK_TIMEOUT)
        sample = await try_sample(decoder, namespace, seconds)
    finally:
        await decoder.close()
    who = "the data converter" if converts else "the codec server"
    if sample.ok:
        return ok(CODEC, f"{who} decodes a sample: {sample.text}")
    text = f"{who} fails on a sample, so failures keep their encoded text: {sample.text}"
    return warning(CODEC, one_line(text, LIMIT), fix)
