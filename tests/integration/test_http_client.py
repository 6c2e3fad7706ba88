"""The backends' HTTP client on real sockets, with both event loops: its pool, its time limits, TLS, and what it refuses."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from schemas.errors import ErrorClass
from tests.support import eventually
from workers.backends import http_client
from workers.backends.http_client import HttpClient, HttpPolicy
from workers.core.errors import MessageError, PermanentError, UsageError

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
NEVER = 3600.0  # a time limit that ends nothing: what should end must end by itself


class Guest:
    """One client's connection, as the server's script sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.requests: list[bytes] = []
        self.gone = asyncio.Event()

    async def asked(self) -> bytes:
        """The next request, head and body."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = [
            line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-l")
        ]
        self.requests.append(head + await self._reader.readexactly(int(length[0]) if length else 0))
        return self.requests[-1]

    async def leaves(self) -> None:
        """Wait for the client to hang up."""
        while await self._reader.read(1000):
            pass
        self.gone.set()


Script = Callable[[Guest], Awaitable[None]]


async def answers(guest: Guest) -> None:
    """Answer everything."""
    while True:
        await guest.asked()
        guest.writer.write(OK)


async def silent(guest: Guest) -> None:
    """Take one request and say nothing."""
    await guest.asked()
    await guest.leaves()


async def answers_once_and_closes_at_the_next(guest: Guest) -> None:
    await guest.asked()
    guest.writer.write(OK)
    await guest.asked()


class Server:
    """Plays a script with every client; the last one again and again."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self._running: set[asyncio.Task[None]] = set()
        self.guests: list[Guest] = []
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        guest = Guest(reader, writer)
        self.guests.append(guest)
        script = self._scripts[min(len(self.guests), len(self._scripts)) - 1]
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await script(guest)
        finally:
            guest.gone.set()
            writer.close()

    @property
    def requests(self) -> int:
        return sum(len(guest.requests) for guest in self.guests)


@asynccontextmanager
async def serving(*scripts: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(*scripts)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls) as listening:
        server.address = f"http{'s' if tls else ''}://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server
        for guest in server.guests:
            guest.writer.transport.abort()
        for guest in server.guests:
            await guest.gone.wait()


@asynccontextmanager
async def calling(address: str, **policy: float) -> AsyncIterator[HttpClient]:
    client = HttpClient("host:1", urlsplit(address), policy=HttpPolicy(**policy))  # type: ignore[arg-type]  # ints too
    try:
        yield client
    finally:
        await client.close()


async def get(client: HttpClient, seconds: float = NEVER) -> bytes:
    return (await client.request("GET", "/", seconds=seconds)).body


async def failure(client: HttpClient, seconds: float = NEVER) -> MessageError:
    with pytest.raises(MessageError) as caught:
        await get(client, seconds)
    return caught.value


async def test_a_connection_is_kept_and_no_more_are_opened_than_allowed() -> None:
    async with serving(answers) as server, calling(server.address, connections=3) as client:
        bodies = await asyncio.gather(*(get(client) for _ in range(50)))
        assert set(bodies) == {b"hi"}
        assert len(server.guests) == 3


async def test_a_connection_that_was_idle_for_too_long_is_not_used_again() -> None:
    async with serving(answers) as server, calling(server.address, keep=-1.0) as client:
        await get(client)
        await get(client)
        assert len(server.guests) == 2


async def test_who_finds_every_connection_in_use_waits_and_not_beyond_its_time() -> None:
    async with serving(silent) as server, calling(server.address, connections=1) as client:
        first = asyncio.create_task(get(client))
        await eventually(lambda: server.requests == 1)
        assert (await failure(client, 0.05)).error_class is ErrorClass.OVERLOADED
        first.cancel()
        await asyncio.wait({first})


async def test_a_cancelled_call_closes_its_connection_and_makes_room() -> None:
    async with serving(silent, answers) as server, calling(server.address, connections=1) as client:
        first = asyncio.create_task(get(client))
        await eventually(lambda: server.requests == 1)
        second = asyncio.create_task(get(client))
        first.cancel()
        await asyncio.wait({first})
        await server.guests[0].gone.wait()
        assert await second == b"hi"


async def test_who_stops_waiting_leaves_its_place_to_the_next() -> None:
    release = asyncio.Event()

    async def slow(guest: Guest) -> None:
        await guest.asked()
        await release.wait()
        guest.writer.write(OK)
        await answers(guest)

    async with serving(slow) as server, calling(server.address, connections=1) as client:
        first, second, third = [asyncio.create_task(get(client)) for _ in range(3)]
        await eventually(lambda: server.requests == 1)
        release.set()
        await first
        second.cancel()  # it may have been given the connection already
        assert await third == b"hi"
        await asyncio.wait({second})


async def test_a_connection_that_was_closed_while_idle_is_replaced_once() -> None:
    async with (
        serving(answers_once_and_closes_at_the_next, answers) as server,
        calling(server.address) as client,
    ):
        assert [await get(client), await get(client)] == [b"hi", b"hi"]
        assert [len(guest.requests) for guest in server.guests] == [2, 1]


async def test_a_server_that_is_gone_is_not_asked_again_and_again() -> None:
    async def closes(guest: Guest) -> None:
        await guest.asked()

    async with (
        serving(answers_once_and_closes_at_the_next, closes) as server,
        calling(server.address) as client,
    ):
        await get(client)
        assert (await failure(client)).error_class is ErrorClass.CONNECT
        assert [len(guest.requests) for guest in server.guests] == [2, 1]


async def test_a_call_that_was_half_answered_is_not_repeated() -> None:
    async def breaks(guest: Guest) -> None:
        await guest.asked()
        guest.writer.write(OK)
        await guest.asked()
        guest.writer.write(OK[:20])

    async with serving(breaks, answers) as server, calling(server.address) as client:
        await get(client)
        assert (await failure(client)).error_class is ErrorClass.CONNECT
        assert len(server.guests) == 1


async def test_a_call_ends_when_its_time_is_over_and_so_does_its_connection() -> None:
    async def stops(guest: Guest) -> None:
        await guest.asked()
        guest.writer.write(OK)
        await guest.asked()
        await guest.leaves()

    async with serving(stops) as server, calling(server.address) as client:
        await get(client)
        assert (await failure(client, 0.05)).error_class is ErrorClass.TIMEOUT
        await server.guests[0].gone.wait()


async def test_connecting_has_a_limit_of_its_own() -> None:
    """A server that never answers the TLS greeting looks just like a network that swallows packets."""

    async def deaf(guest: Guest) -> None:
        await guest.leaves()

    async with serving(deaf) as server:
        address = server.address.replace("http:", "https:")
        async with calling(address, connect_timeout=0.05) as client:
            error = await failure(client)
    assert error.error_class is ErrorClass.CONNECT
    assert "took too long" in error.reason


async def test_nobody_listening_is_a_connection_failure_and_the_place_is_free_again() -> None:
    async with serving(answers) as server:
        address = server.address
    async with calling(address, connections=1) as client:
        for _ in range(3):
            assert (await failure(client)).error_class is ErrorClass.CONNECT


async def test_what_goes_on_when_the_client_is_closed_fails_and_so_does_what_comes() -> None:
    async with serving(silent) as server, calling(server.address, connections=1) as client:
        calls = [asyncio.create_task(failure(client)) for _ in range(2)]
        await eventually(lambda: server.requests == 1)
        await client.close()
        errors = [*await asyncio.gather(*calls), await failure(client)]
    assert {error.error_class for error in errors} == {ErrorClass.CONNECT}


async def test_a_stream_is_read_while_it_comes_and_its_connection_is_kept() -> None:
    read = asyncio.Event()

    async def streams(guest: Guest) -> None:
        await guest.asked()
        guest.writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await read.wait()  # the second piece is not sent before the first one has been read
        guest.writer.write(b"2\r\nho\r\n0\r\n\r\n")
        await answers(guest)

    async with serving(streams) as server, calling(server.address, connections=1) as client:
        async with client.stream("POST", "/", body=b"{}", seconds=NEVER) as stream:
            assert stream.status == 200
            assert await anext(stream) == b"hi"
            read.set()
            assert await stream.read() == b"ho"
        assert await get(client) == b"hi"
        assert len(server.guests) == 1


async def test_leaving_a_stream_early_closes_its_connection() -> None:
    async def endless(guest: Guest) -> None:
        await guest.asked()
        guest.writer.write(b"HTTP/1.1 200 OK\r\n\r\nbegin")
        await guest.leaves()

    async with serving(endless, answers) as server, calling(server.address, connections=1) as client:
        async with client.stream("GET", "/", seconds=NEVER) as stream:
            assert await anext(stream) == b"begin"
        await server.guests[0].gone.wait()
        assert await get(client) == b"hi"


async def test_a_stream_that_takes_too_long_ends_with_a_timeout() -> None:
    async def stalls(guest: Guest) -> None:
        await guest.asked()
        guest.writer.write(OK)
        await guest.asked()
        guest.writer.write(b"HTTP/1.1 200 OK\r\n\r\nbegin")
        await guest.leaves()

    async with serving(stalls) as server, calling(server.address) as client:
        await get(client)
        with pytest.raises(MessageError) as caught:
            async with client.stream("GET", "/", seconds=0.1) as stream:
                await stream.read()
    assert caught.value.error_class is ErrorClass.TIMEOUT


@pytest.mark.parametrize(
    ("method", "path", "header"),
    [
        ("GET", "/a b", ("x", "1")),
        ("GET", "/\r\nx: 1", ("x", "1")),
        ("GET", "http://elsewhere/", ("x", "1")),
        ("GET /\r\n", "/", ("x", "1")),
        ("GET", "/", ("x", "1\r\ny: 2")),
        ("GET", "/", ("x\r\ny", "1")),
        ("GET", "/", ("x", "1\x00")),
        ("GET", "/", ("x", "订单")),
        ("GET", "/", ("x y", "1")),
    ],
)
async def test_what_http_does_not_allow_is_refused_and_nothing_is_sent(
    method: str, path: str, header: tuple[str, str]
) -> None:
    async with serving(answers) as server, calling(server.address) as client:
        with pytest.raises(PermanentError):
            await client.request(method, path, [header], seconds=1)
        assert server.guests == []


@pytest.mark.parametrize("address", ["http://a:99999", f"http://{'a' * 64}.b"])
async def test_an_address_that_could_never_be_called_is_refused(address: str) -> None:
    with pytest.raises(UsageError):
        HttpClient("x", urlsplit(address))


async def test_a_host_is_named_as_http_wants_it() -> None:
    async with serving(answers) as server:
        port = server.address.rpartition(":")[2]
        async with calling(f"http://LOCALHOST:{port}") as client:
            await get(client)
        assert f"host: localhost:{port}\r\n".encode() in server.guests[0].requests[0]


# -- TLS -----------------------------------------------------------------------------------------------------------------


def certificate(folder: Path, name: x509.GeneralName) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate for `name`, and the file that clients have to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relayfleet test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, secret = folder / "trusted.pem", folder / "key.pem"
    trusted.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, secret)
    return context, trusted


@pytest.mark.parametrize(
    ("name", "trusted", "says"),
    [
        (x509.IPAddress(ipaddress.ip_address("127.0.0.1")), True, None),
        (x509.IPAddress(ipaddress.ip_address("127.0.0.1")), False, "certificate"),
        (x509.DNSName("elsewhere.example"), True, "certificate"),
    ],
    ids=["trusted", "unknown issuer", "another host"],
)
async def test_only_a_server_that_proves_its_name_gets_a_prompt(
    name: x509.GeneralName, trusted: bool, says: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, file = certificate(tmp_path, name)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    http_client._tls.cache_clear()
    try:
        async with serving(answers, tls=context) as server, calling(server.address) as client:
            if says is None:
                assert [await get(client), await get(client)] == [b"hi", b"hi"]
                assert len(server.guests) == 1
            else:
                error = await failure(client)
                assert error.error_class is ErrorClass.CONNECT
                assert says in error.reason
            assert server.requests == (2 if says is None else 0)
    finally:
        http_client._tls.cache_clear()


async def test_a_server_that_does_not_speak_tls_is_a_connection_failure() -> None:
    async def plain(guest: Guest) -> None:
        guest.writer.write(OK)
        await guest.leaves()

    async with serving(plain) as server, calling(server.address.replace("http:", "https:")) as client:
        assert (await failure(client)).error_class is ErrorClass.CONNECT


SCENARIOS = (
    test_a_connection_is_kept_and_no_more_are_opened_than_allowed,
    test_a_cancelled_call_closes_its_connection_and_makes_room,
    test_who_stops_waiting_leaves_its_place_to_the_next,
    test_a_connection_that_was_closed_while_idle_is_replaced_once,
    test_a_call_that_was_half_answered_is_not_repeated,
    test_a_call_ends_when_its_time_is_over_and_so_does_its_connection,
    test_connecting_has_a_limit_of_its_own,
    test_nobody_listening_is_a_connection_failure_and_the_place_is_free_again,
    test_what_goes_on_when_the_client_is_closed_fails_and_so_does_what_comes,
    test_a_stream_is_read_while_it_comes_and_its_connection_is_kept,
    test_leaving_a_stream_early_closes_its_connection,
    test_a_server_that_does_not_speak_tls_is_a_connection_failure,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__.removeprefix("test_"))
def test_the_event_loop_that_workers_run_on_does_the_same(
    scenario: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
