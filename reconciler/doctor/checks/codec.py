"""Check that encoded failures can be decoded: try the team's codec on a sample."""

from __future__ import annotations

from reconciler.core.errors import ConfigurationError
from reconciler.doctor.findings import Finding, of_error, ok, warning
from reconciler.doctor.runner import CHECK_TIMEOUT
from reconciler.settings.model import Settings
from reconciler.temporal.failures.codec import try_sample
from reconciler.temporal.failures.failure_decoder import make_codec

CODEC = "codec"


async def check_codec(settings: Settings, namespace: str) -> Finding:
    """Create the codec, as every command does, and let it encode and decode a sample.

    A codec that cannot be created is a failure. One that does not decode is a warning: passes
    work, and messages stay encoded. Runs the team's code, which blocks until its first await.
    """
    converts = settings.data_converter is not None
    fix = "check RECONCILER_DATA_CONVERTER"
    if not converts:
        fix = "check RECONCILER_CODEC_ENDPOINT and RECONCILER_CODEC_HEADERS"
    try:
        codec = make_codec(*settings.decoder())
    except ConfigurationError as error:
        return of_error(CODEC, error, fix)
    if codec is None:
        return ok(CODEC, "none: failures are written as Temporal has them")
    try:
        seconds = min(settings.codec_timeout.total_seconds(), CHECK_TIMEOUT)
        sample = await try_sample(codec, namespace, seconds)
    finally:
        await codec.close()
    who = "the data converter" if converts else "the codec server"
    if sample.ok:
        return ok(CODEC, f"{who} decodes a sample: {sample.text}")
    text = f"{who} fails on a sample, so failures keep their encoded text: {sample.text}"
    return warning(CODEC, text, fix)
