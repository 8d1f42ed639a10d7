"""Whether encoded failures will come out in clear: the team's codec, tried on a sample of ours."""

from __future__ import annotations

from reconciler.core.errors import ConfigurationError
from reconciler.doctor.findings import Finding, Level, ok, refused
from reconciler.doctor.runner import CHECK_TIMEOUT
from reconciler.settings.model import Settings
from reconciler.temporal.failures.decoders import make_decoder
from reconciler.temporal.failures.decoding import try_sample

CODEC = "codec"


async def check_codec(settings: Settings, namespace: str) -> Finding:
    """Make the decoder, as a start does, and let it encode and decode something.

    That it cannot be made is what a start refuses; that it does not decode costs a pass nothing
    but the texts. Runs the team's code: up to the first await it keeps everybody waiting.
    """
    of_ours = settings.data_converter is not None
    setting = f"RECONCILER_{'DATA_CONVERTER' if of_ours else 'CODEC_ENDPOINT'}"
    mend = f"check {setting}"
    try:
        decoder = make_decoder(*settings.decoder())
    except ConfigurationError as error:
        return refused(CODEC, str(error), mend)
    if decoder is None:
        return ok(CODEC, "none: failures are written as Temporal has them")
    try:
        seconds = min(settings.codec_timeout.total_seconds(), CHECK_TIMEOUT)
        sample = await try_sample(decoder, namespace, seconds)
    finally:
        await decoder.close()
    who = "the data converter" if of_ours else "the codec server"
    if sample.ok:
        return ok(CODEC, f"{who} did well on a sample: {sample.text}")
    told = f"{who} fails on a sample, and failures keep their encoded text: {sample.text}"
    return refused(CODEC, told, mend, Level.WARNING)
