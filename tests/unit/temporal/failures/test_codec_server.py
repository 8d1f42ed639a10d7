"""A codec server that works, and everything that can go wrong with it."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payloads
from temporalio.converter import DataConverter

from reconciler.core.errors import ConfigurationError
from reconciler.host.logs import configure_logs
from reconciler.temporal.failures.codec import CodecUnusable, Undecodable, try_sample
from reconciler.temporal.failures.codec_server import CodecServer
from reconciler.temporal.failures.failure_decoder import MAX_UNUSABLE, FailureDecoder
from reconciler.temporal.failures.text import describe_failure
from tests.support.network.certificates import Authority
from tests.support.network.codecs import Server, http, sealing
from tests.support.polling import eventually
from tests.support.temporal.failures import in_activity, reasons, refused, sealed

TOKEN = "Bearer s3cret"
HEADERS = [("Authorization", TOKEN), ("X-Team", "ops")]
CLEAR = "activity charge failed: Refused: no money"
ENCODED = "activity charge failed: Refused: Encoded failure"


async def text(server: Server, seconds: float = 5, **options: Any) -> tuple[str, str]:
    """The text of a sealed failure, and why it could not be decoded."""
    decoder = FailureDecoder(CodecServer(server.url, **options), seconds)
    failure = await sealed(in_activity(refused()), sealing())
    described = describe_failure(await decoder.decode(failure, "name space", "wf"))
    return described, reasons(decoder)


async def test_the_right_key_and_token() -> None:
    async with Server(token=TOKEN).up() as server:
        assert await text(server, headers=HEADERS) == (CLEAR, "")

    (request,) = server.requests
    assert request.target == "/decode"
    expected = {
        "host": server.url.removeprefix("http://"),
        "content-type": "application/json",
        "content-length": str(len(request.body)),
        "accept-encoding": "identity",
        "connection": "close",
        "x-namespace": "name space",
        "authorization": TOKEN,
        "x-team": "ops",
    }
    assert expected.items() <= request.headers.items()
    assert [payload["metadata"].keys() for payload in json.loads(request.body)["payloads"]] == [
        {"encoding"}
    ] * 2


@pytest.mark.parametrize(
    ("path", "target"),
    [("/", "/decode"), ("/codec/", "/codec/decode"), ("/{namespace}/x", "/n%2Fs/x/decode")],
)
async def test_the_endpoint_may_have_a_path_with_the_namespace(path: str, target: str) -> None:
    async with Server().up() as server:
        await CodecServer(server.url + path).decode([refused().encoded_attributes], "n/s", "wf")

    assert [request.target for request in server.requests] == [target]


async def test_an_answer_in_chunks_of_one_byte() -> None:
    plain = DataConverter.default.payload_converter.to_payloads([{"message": "é"}])
    content = http(200, Payloads(payloads=plain)).partition(b"\r\n\r\n")[2]
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in content) + b"0\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    async with Server(answer=answer).up() as server:
        (message,) = await CodecServer(server.url).decode([plain[0]], "ns", "wf")

    assert message == "é"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        pytest.param(http(400), "the codec server answered HTTP 400", id="400"),
        pytest.param(http(401), "HTTP 401 (see RECONCILER_CODEC_HEADERS)", id="401"),
        pytest.param(http(403), "HTTP 403 (see RECONCILER_CODEC_HEADERS)", id="403"),
        pytest.param(http(404), "HTTP 404", id="404"),
        pytest.param(http(503), "HTTP 503", id="503"),
        pytest.param(http(204), "HTTP 204", id="204"),
        pytest.param(http(200), "did not answer with payloads", id="nothing"),
        pytest.param(http(200, "<html>"), "did not answer with payloads", id="a page"),
        pytest.param(http(200, "{}", "Content-Encoding: gzip"), "made 0 payloads", id="packed"),
        pytest.param(http(200, "[" * 5000), "did not answer with payloads", id="nested too deep"),
        pytest.param(http(200, '{"payloads": 5}'), "did not answer with payloads", id="wrong type"),
        pytest.param(http(200, "{}"), "made 0 payloads of 2", id="too few"),
        pytest.param(http(200, '{"payloads": [{},{},{}]}'), "made 3 payloads of 2", id="too many"),
        pytest.param(http(200, '{"payloads": [{},{}]}'), "left it encoded as nothing", id="empty"),
        pytest.param(
            http(200, '{"payloads": [{"metadata": {"encoding": "YmluYXJ5L3g="}}, {}]}'),
            "left it encoded as binary/x",
            id="unchanged",
        ),
        pytest.param(
            http(200, '{"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}}, {}]}'),
            "does not decode it to a message",
            id="not JSON",
        ),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", "no answer from the codec server (", id="no HTTP"),
        pytest.param(
            http(200, "{}")[:-1], "no answer from the codec server (peer closed", id="cut off"
        ),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
            "no answer from the codec server (Server disc",
            id="hangs up",
        ),
        pytest.param(
            http(200, "{}", "X: " + "x" * 200_000),
            "no answer from the codec server (",
            id="long headers",
        ),
        pytest.param(b"", "no answer within 0.3 s", id="silence"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n", "no answer from the codec server (", id="half an answer"
        ),
    ],
)
async def test_an_unusable_answer(answer: bytes, why: str) -> None:
    async with Server(answer=answer).up() as server:
        described, logged = await text(server, seconds=0.3 if not answer else 5, headers=HEADERS)

    assert described == ENCODED
    assert why in logged
    assert "s3cret" not in logged


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with Server().up() as other:
        answer = http(status, "", f"Location: {other.url}/decode")
        async with Server(answer=answer).up() as server:
            described, logged = await text(server, headers=HEADERS)

    assert (described, other.requests) == (ENCODED, [])
    assert logged == f"the codec server answered HTTP {status}: redirects are not followed"


async def test_an_endless_answer_is_not_read_to_the_end() -> None:
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000
    async with Server(answer=answer).up() as server:
        _, logged = await text(server, max_answer=100_000)

    assert logged == "the codec server answers with more than 100000 bytes"


async def test_no_server() -> None:
    described, logged = await text(Server(port=1))

    assert described == ENCODED
    assert logged.startswith("no answer from the codec server (All connection attempts failed")


@pytest.mark.parametrize(
    ("answer", "unusable"),
    [(http(503), True), (http(401), True), (http(429), True), (http(400), False)],
)
async def test_which_answers_pause_the_calls(answer: bytes, unusable: bool) -> None:
    async with Server(answer=answer).up() as server:
        decoder = FailureDecoder(CodecServer(server.url), 5)
        for _ in range(2 * MAX_UNUSABLE):
            await decoder.decode(await sealed(refused(), sealing()), "ns", "wf")

    assert len(server.requests) == (MAX_UNUSABLE if unusable else 2 * MAX_UNUSABLE)


async def test_a_request_can_be_cancelled() -> None:
    async with Server(answer=b"").up() as server:
        task = asyncio.create_task(
            CodecServer(server.url).decode([refused().encoded_attributes], "ns", "wf")
        )

        async def asked() -> bool:
            return bool(server.requests)

        await eventually(asked)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("scheme", ["https:", "HTTPS:"])
async def test_an_http_server_where_https_is_expected(scheme: str) -> None:
    async with Server().up() as server:
        codec = CodecServer(server.url.replace("http:", scheme))
        with pytest.raises(CodecUnusable, match="no answer from the codec server"):
            await codec.decode([refused().encoded_attributes], "ns", "wf")


async def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("certifi.where", lambda: "/nowhere")  # httpx's own list is not used
    authority = Authority(tmp_path)
    certificate = authority.issue("127.0.0.1")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate.cert, certificate.key)
    async with Server(tls=tls).up() as server:
        described, why = await text(server)
        assert (described, "CERTIFICATE_VERIFY_FAILED" in why) == (ENCODED, True)

        monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
        assert await text(server) == (CLEAR, "")


async def test_its_url_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """Its path may hold a secret."""
    configure_logs("debug", as_json=False)
    async with Server().up() as server:
        codec = CodecServer(f"{server.url}/s3cret")
        await codec.decode([refused().encoded_attributes], "ns", "wf")

    assert "s3cret" not in capsys.readouterr().err


async def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Server().up() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        await CodecServer("http://codec.test").decode([refused().encoded_attributes], "ns", "wf")

    assert [request.target for request in proxy.requests] == ["http://codec.test/decode"]


@pytest.mark.parametrize(
    "url", ["socks5://u:s3cret@proxy:1", "gopher://u:s3cret@proxy", "http://u:s3cret@:x"]
)
def test_an_unusable_proxy_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", url)

    with pytest.raises(ConfigurationError, match="HTTP_PROXY, HTTPS_PROXY or ALL_PROXY") as error:
        CodecServer("https://codec")

    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    ("server", "ok", "logged"),
    [
        pytest.param(Server(token=TOKEN), True, "encoded and decoded", id="good"),
        pytest.param(Server(token=f"{TOKEN}0"), False, "HTTP 401 (see", id="wrong token"),
        pytest.param(Server(answer=http(404)), False, "HTTP 404", id="wrong path"),
        pytest.param(Server(answer=http(200, "<html>")), False, "did not answer with", id="a page"),
        pytest.param(Server(answer=b""), False, "no answer within 0.1 s", id="silent"),
    ],
)
async def test_a_sample(server: Server, ok: bool, logged: str) -> None:
    async with server.up():
        seconds = 0.1 if server.answer == b"" else 5
        sample = await try_sample(CodecServer(server.url, HEADERS), "ns", seconds)

    assert sample.ok is ok
    assert logged in sample.text
    assert "s3cret" not in sample.text


async def test_a_sample_of_a_server_that_only_decodes() -> None:
    class DecodesOnly(Server):
        async def _answer(self, request: Any) -> bytes:
            encode = request.target.endswith("/encode")
            return http(404) if encode else await super()._answer(request)

    async with DecodesOnly().up() as server:
        sample = await try_sample(CodecServer(server.url), "ns", 5)

    assert (sample.ok, sample.text) == (True, "decoded")


async def test_a_sample_that_comes_back_as_something_else() -> None:
    plain = DataConverter.default.payload_converter.to_payloads([{"message": "else"}])
    async with Server(answer=http(200, Payloads(payloads=plain))).up() as server:
        with pytest.raises(Undecodable, match="does not decode what it encoded"):
            await CodecServer(server.url).sample("ns")
