"""A team's codec server: Temporal's protocol of `/encode` and `/decode`, over HTTP.

Payloads travel as proto JSON (github.com/temporalio/samples-go, codec-server/protocol.md). Needs
the extra `codec`.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from urllib.parse import quote

import httpx
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import DataConverter

from reconciler.core.errors import ConfigurationError
from reconciler.core.text import one_line
from reconciler.temporal.failures.codec import SAMPLE, CodecUnusable, Undecodable
from reconciler.temporal.failures.encoded_attributes import message_in

#: Bytes of an answer. A failure has at most 2 MB, unless the server's limit was raised.
MAX_ANSWER = 4 * 1024 * 1024
_OK = 200
_REDIRECTS = range(300, 400)
_REFUSED = (401, 403)
_NOT_OFFERED = (404, 405, 501)
# The server has a problem, or asks for fewer calls, whatever it was given.
_UNUSABLE = (*_REFUSED, 429, *range(500, 600))


class CodecServer:
    """A codec server at a URL, in which `{namespace}` stands for the namespace."""

    def __init__(
        self,
        endpoint: str,
        headers: Sequence[tuple[str, str]] = (),
        max_answer: int = MAX_ANSWER,
    ) -> None:
        """`headers`: sent with each request, such as an authorization.

        Raises `ConfigurationError` if the environment names a proxy that cannot be used.
        """
        self._endpoint, self._headers, self._max_answer = endpoint, headers, max_answer
        try:
            self._client = httpx.AsyncClient(
                # The machine's certificates, or those in SSL_CERT_FILE.
                verify=ssl.create_default_context(),
                timeout=None,  # noqa: S113 - the caller has a limit for the whole failure
            )
        except (ImportError, ValueError, httpx.InvalidURL):  # which may repeat a password
            raise ConfigurationError(
                "RECONCILER_CODEC_ENDPOINT: the proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY "
                "cannot be used",
                "set it to http://host:port, or unset it",
            ) from None

    async def decode(
        self,
        payloads: Sequence[Payload],
        namespace: str,
        workflow_id: str,  # noqa: ARG002 - not part of the protocol
    ) -> Sequence[str | Undecodable]:
        """The message in each of the payloads, by one request. Raises `Undecodable`."""
        return [_message(payload) for payload in await self._post("decode", payloads, namespace)]

    async def sample(self, namespace: str) -> str:
        """Have a sample encoded and decoded, or only decoded. Raises `Undecodable`.

        Not every server encodes. Then it gets a plain payload to decode, which codecs return as it
        is.
        """
        plain = DataConverter.default.payload_converter.to_payloads([SAMPLE])
        try:
            encoded = await self._post("encode", plain, namespace)
            done = "encoded and decoded"
        except Undecodable as error:
            if error.status not in _NOT_OFFERED:
                raise
            encoded, done = plain, "decoded"
        (message,) = await self.decode(encoded, namespace, "")
        if isinstance(message, Undecodable):
            raise message
        if message != SAMPLE["message"]:
            raise Undecodable("the codec server does not decode what it encoded")
        return done

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def _post(
        self, what: str, payloads: Sequence[Payload], namespace: str
    ) -> Sequence[Payload]:
        body = MessageToJson(Payloads(payloads=payloads), indent=None).encode()
        answer = await self._exchange(what, body, namespace)
        try:
            decoded = Parse(answer, Payloads(), ignore_unknown_fields=True).payloads
        except (ParseError, ValueError, RecursionError):
            raise Undecodable("the codec server did not answer with payloads") from None
        if len(decoded) != len(payloads):
            raise Undecodable(f"the codec server made {len(decoded)} payloads of {len(payloads)}")
        return decoded

    async def _exchange(self, what: str, body: bytes, namespace: str) -> bytes:
        """One request on a new connection. Raises `Undecodable`."""
        url = self._endpoint.replace("{namespace}", quote(namespace, safe="")).rstrip("/")
        headers = [
            ("Content-Type", "application/json"),
            ("Accept-Encoding", "identity"),  # so that what is read is the answer's size
            ("Connection", "close"),  # a server may close an idle one just as it is reused
            ("X-Namespace", namespace),
            *self._headers,
        ]
        answer = bytearray()
        try:
            async with self._client.stream(
                "POST", f"{url}/{what}", content=body, headers=headers
            ) as response:
                if response.status_code != _OK:
                    raise _http_error(response.status_code)
                async for chunk in response.aiter_raw():
                    answer += chunk
                    if len(answer) > self._max_answer:
                        raise Undecodable(
                            f"the codec server answers with more than {self._max_answer} bytes"
                        )
        except httpx.TransportError as error:  # includes TLS and name resolution
            why = one_line(str(error), 200) or type(error).__name__
            raise CodecUnusable(f"no answer from the codec server ({why})") from None
        return bytes(answer)


def _http_error(status: int) -> Undecodable:
    hint = ""
    if status in _REFUSED:
        hint = " (see RECONCILER_CODEC_HEADERS)"
    elif status in _REDIRECTS:
        hint = ": redirects are not followed"
    kind = CodecUnusable if status in _UNUSABLE else Undecodable
    return kind(f"the codec server answered HTTP {status}{hint}", status)


def _message(payload: Payload) -> str | Undecodable:
    try:
        message = message_in(DataConverter.default.payload_converter.from_payloads([payload])[0])
    except KeyError:  # so the SDK reports an unknown encoding
        encoding = payload.metadata.get("encoding", b"nothing").decode(errors="replace")
        return Undecodable(f"the codec server left it encoded as {one_line(encoding, 60)}")
    except Exception:  # noqa: BLE001 - whatever fails, there is no message
        message = None
    if message is None:
        return Undecodable("the codec server does not decode it to a message")
    return message
