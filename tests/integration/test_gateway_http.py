"""The gateway's HTTP server on a real socket: what clients do that no client library lets them do, and TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import httpx
import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support import eventually
from tests.unit.gateway.world import World
from tests.unit.router.support import topology
from workers.core.deadlines import Deadline
from workers.core.errors import UsageError
from workers.core.topology.gateway import Gateway, Limits, Tls
from workers.core.topology.tenants import Tenant
from workers.gateway.app import build_app
from workers.gateway.auth import Authenticator
from workers.gateway.build import GatewayPorts, Listening, fronts
from workers.gateway.front import Parts
from workers.gateway.http_server import HttpServer
from workers.gateway.websocket_front import WebSocketFront
from workers.gateway.websocket_sessions import Sessions

BODY = b'{"text":"hi"}'


class Running:
    """A gateway's HTTP server, and raw connections to it."""

    def __init__(self, server: HttpServer, world: World) -> None:
        self.server = server
        self.world = world
        self.port = int(server.address.rpartition(":")[2])

    async def say(self, *pieces: bytes) -> bytes:
        """Send bytes, and return everything that comes until the server closes, as it does after all that we say."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()


@asynccontextmanager
async def running(settings: Gateway, **tenants: Tenant) -> AsyncIterator[Running]:
    world = await World(settings=settings, tenants=tenants).start()
    parts = Parts(world.relay, Authenticator(settings, tenants, None), settings, world.metrics, world.clock)
    routes = WebSocketFront(parts, Sessions(world.store)).routes()
    server = HttpServer(build_app(parts, routes), settings, "127.0.0.1", 0)
    await server.start()
    try:
        yield Running(server, world)
    finally:
        await server.stop(Deadline.after(1))
        await world.stop()


def post(*headers: bytes) -> bytes:
    lines = (
        b"POST /api/forward HTTP/1.1",
        b"host: localhost",
        b"content-type: application/json",
        b"prefer: wait=0",
        b"connection: close",
        b"content-length: %d" % len(BODY),
        *headers,
    )
    return b"\r\n".join((*lines, b"", BODY))


def told(answer: bytes) -> tuple[int, dict[str, object]]:
    """The status and the problem of a raw answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head, answer
    problem: dict[str, object] = orjson.loads(body)
    return int(head.split()[1]), problem


async def test_headers_one_byte_too_many_and_one_header_too_many_are_refused() -> None:
    async with running(Gateway(confirm=1, limits=Limits(headers=1024, header_count=10))) as site:
        used = len(
            b"hostlocalhostcontent-typeapplication/jsonpreferwait=0connectionclosecontent-length13x-pad"
        )
        room = 1024 - used
        assert b" 202 " in await site.say(post(b"x-pad: " + b"x" * room))
        status, problem = told(await site.say(post(b"x-pad: " + b"x" * (room + 1))))
        assert (status, problem["code"]) == (431, "too_large")
        assert b" 202 " in await site.say(post(*(b"x-%d: 1" % number for number in range(5))))
        assert told(await site.say(post(*(b"x-%d: 1" % number for number in range(6)))))[0] == 431


async def test_a_header_that_never_ends_is_cut_off_before_it_takes_memory() -> None:
    async with running(Gateway(confirm=1, limits=Limits(headers=1024))) as site:
        answer = await site.say(b"GET / HTTP/1.1\r\nx-endless: " + b"x" * 2100)
        assert told(answer)[0] == 431


async def test_what_is_not_http_is_told_so_and_dropped() -> None:
    async with running(Gateway(confirm=1)) as site:
        assert told(await site.say(b"\x16\x03\x01 hello\r\n\r\n"))[0] == 400


async def test_a_connection_that_says_nothing_or_never_finishes_is_closed() -> None:
    async with running(Gateway(confirm=1, idle=0.1)) as site:
        for said in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: "):
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.write(said)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(post()[:-1])
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert b" 400 " in answer
        writer.close()


async def test_one_connection_too_many_is_refused_and_room_comes_back() -> None:
    async with running(Gateway(confirm=1, limits=Limits(connections=2))) as site:
        open_ones = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(2)]
        assert told(await site.say())[0] == 503
        for _, writer in open_ones:
            writer.close()
        await eventually(lambda: _taken(site))


async def _taken(site: Running) -> bool:
    return b" 202 " in await site.say(post())


async def test_a_body_that_lies_about_its_length_is_counted() -> None:
    async with running(Gateway(confirm=1, limits=Limits(body=100))) as site:
        head = post().replace(b"content-length: 13", b"transfer-encoding: chunked").removesuffix(BODY)
        assert b" 202 " in await site.say(head, b"d\r\n" + BODY + b"\r\n0\r\n\r\n")
        assert told(await site.say(head, b"65\r\n" + b" " * 101 + b"\r\n0\r\n\r\n"))[0] == 413
        long = post().replace(b"content-length: 13", b"content-length: 99999999999999999999")
        assert b" 400 " in await site.say(long)


async def test_an_address_that_is_taken_is_told() -> None:
    async with running(Gateway(confirm=1)) as site:
        other = HttpServer(site.server._app, Gateway(), "127.0.0.1", site.port)
        with pytest.raises(UsageError, match=f"can't listen on 127.0.0.1:{site.port}"):
            await other.start()


class Authority:
    """Makes certificates in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("test authority")
        self._certificate = self._signed(self._name, self._key)
        self.file = self._write("ca.pem", self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[str, str]:
        """The files of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(_named(name), key)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return (
            self._write(f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM)),
            self._write(f"{name}.key", private),
        )

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        now = datetime.now(UTC)
        own = subject == self._name
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=own, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, content: bytes) -> str:
        path = self._folder / name
        path.write_bytes(content)
        return str(path)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


async def test_with_tls_a_client_shows_a_certificate_which_tells_its_tenant(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost")
    tls = Tls(certificate_file=certificate, key_file=key, client_ca_file=authority.file)
    acme, stranger = authority.issue("acme-app"), authority.issue("stranger")
    async with running(Gateway(confirm=1, tls=tls), acme=Tenant(certificates=("acme-app",))) as site:
        for shown, status in ((acme, 202), (stranger, 401)):
            trusting = ssl.create_default_context(cafile=authority.file)
            trusting.load_cert_chain(*shown)
            async with httpx.AsyncClient(verify=trusting, trust_env=False) as client:
                response = await client.post(
                    f"https://localhost:{site.port}/api/forward",
                    json={"text": "hi"},
                    headers={"Prefer": "wait=0"},
                )
                assert response.status_code == status, response.text
        assert dict(site.world.requests()[0].headers)["relay.tenant"] == b"acme"
        nobody = ssl.create_default_context(cafile=authority.file)
        async with httpx.AsyncClient(verify=nobody, trust_env=False) as client:
            with pytest.raises(httpx.TransportError):
                await client.get(f"https://localhost:{site.port}/")


async def test_a_websocket_knows_the_tenant_by_its_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost")
    tls = Tls(certificate_file=certificate, key_file=key, client_ca_file=authority.file)
    acme, stranger = authority.issue("acme-app"), authority.issue("stranger")
    async with running(Gateway(confirm=1, tls=tls), acme=Tenant(certificates=("acme-app",))) as site:
        address = f"wss://localhost:{site.port}/ws"
        trusting = ssl.create_default_context(cafile=authority.file)
        trusting.load_cert_chain(*acme)
        async with connect(address, ssl=trusting, proxy=None) as client:
            await client.recv()
            await client.send('{"type":"ask","id":"q","text":"hi"}')
            await client.recv()
        assert dict(site.world.requests()[0].headers)["relay.tenant"] == b"acme"
        trusting = ssl.create_default_context(cafile=authority.file)
        trusting.load_cert_chain(*stranger)
        with pytest.raises(InvalidStatus, match="401"):
            await connect(address, ssl=trusting, proxy=None)


async def test_a_websocket_keeps_no_window_for_compression() -> None:
    async with (
        running(Gateway(confirm=1)) as site,
        connect(f"ws://127.0.0.1:{site.port}/ws", compression="deflate", proxy=None) as client,
    ):
        assert client.protocol.extensions == []


async def test_the_gateway_that_is_built_answers_to_its_own_names_alone(tmp_path: Path) -> None:
    settings = Gateway(confirm=1, hosts=("shop.example",))
    world = World(settings=settings)
    parts = Parts(world.relay, Authenticator(settings, {}, None), settings, world.metrics, world.clock)
    ports = GatewayPorts(
        world.broker.publisher(),
        world.subscription,
        world.admin,
        world.store,
        world.metrics,
        world.clock,
        no_limits,
    )
    http, _ = fronts(topology(), parts, ports, Listening("127.0.0.1", 0, 0, tmp_path))
    assert isinstance(http, HttpServer)
    await http.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://{http.address}", trust_env=False) as client:
            for host, status in ((None, 200), ("shop.example", 200), ("evil.example", 421)):
                headers = {} if host is None else {"Host": host}
                assert (await client.get("/openapi.json", headers=headers)).status_code == status
    finally:
        await http.stop(Deadline.after(1))


async def test_a_client_that_goes_away_gives_its_place_back_and_finds_its_answer_later() -> None:
    async with running(
        Gateway(confirm=1, wait=60, limits=Limits(in_flight=1, in_flight_per_client=1))
    ) as site:
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(post(b"idempotency-key: mine").replace(b"prefer: wait=0\r\n", b""))
        (request,) = await eventually(site.world.requests)
        assert len(site.world.registry) == 1
        writer.close()
        await eventually(lambda: not len(site.world.registry))
        assert (await site.say(post()))[:12] == b"HTTP/1.1 202", "there is room again"
        site.world.reply(request, "hello again")

        async def found() -> bool:
            response = await site.world.relay.find(None, "mine")
            return response is not None and response.payload.text == "hello again"

        await eventually(found)


def no_limits() -> NoReturn:
    raise AssertionError("nobody asks for limits")


async def test_a_certificate_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    tls = Tls(certificate_file=str(tmp_path / "none.pem"), key_file=str(tmp_path / "none.key"))
    with pytest.raises(UsageError, match=r"gateway\.tls"):
        async with running(Gateway(confirm=1, tls=tls)):
            pass


@pytest.mark.parametrize("offer", [b"Upgrade: h2c", b"upgrade:h2c"])
async def test_a_client_that_offers_http2_is_answered_in_http1_with_its_body_read(offer: bytes) -> None:
    headers = (b"connection: Upgrade, HTTP2-Settings", offer, b"http2-settings: AAMAAABkAAQAAP__")
    async with running(Gateway(confirm=1)) as http:
        reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
        writer.write(post(*headers).replace(b"connection: close\r\n", b""))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        writer.close()
    assert head.startswith(b"HTTP/1.1 202"), head
