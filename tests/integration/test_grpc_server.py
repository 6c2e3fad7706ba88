"""The gRPC server alone, on a relay over a broker in memory: TLS, its port, its health, a reader that is slow."""

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from schemas import relayfleet_pb2 as wire
from schemas.envelope import Payload, Request
from schemas.errors import ErrorClass
from schemas.relayfleet_pb2_grpc import MessageRouterStub
from tests.backs import TEXT, Back, websocket_service
from tests.contract.backend_targets import grpc_target, websocket_target
from tests.integration.test_gateway_http import Authority
from tests.support import eventually
from tests.unit.gateway.world import World
from workers.backends.grpc import GrpcBackend
from workers.backends.websocket import WebSocketBackend
from workers.core.deadlines import Deadline
from workers.core.errors import MessageError, UsageError
from workers.core.ports import Backend, Call
from workers.core.topology.gateway import Gateway, Limits, Tls
from workers.core.topology.tenants import Tenant
from workers.core.topology.websocket import WebSockets
from workers.gateway.auth import Authenticator
from workers.gateway.front import Parts
from workers.gateway.grpc_server import GrpcServer

PATIENCE = 60.0
ASKED = Call(Request(message_id="m1", source="t", payload=Payload(text="hi"), timestamp=1), PATIENCE)


@asynccontextmanager
async def running(
    settings: Gateway | None = None, port: int = 0, **tenants: Tenant
) -> AsyncIterator[tuple[World, GrpcServer]]:
    world = await World(settings=settings, tenants=tenants).start()
    authenticator = Authenticator(world.settings, tenants, None)
    server = GrpcServer(
        Parts(world.relay, authenticator, world.settings, world.metrics, world.clock), "127.0.0.1", port
    )
    await server.start()
    try:
        yield world, server
    finally:
        await server.stop(Deadline.after(1))
        await world.stop()


async def answered(world: World, backend: Backend) -> str:
    """Ask through a backend, with the fleet behind the gateway played by hand."""
    asking = asyncio.create_task(backend.call(ASKED))
    try:
        await eventually(lambda: asking.done() or world.requests())
        if not asking.done():
            world.reply(world.requests()[-1], "over tls")
        return (await asking).text
    finally:
        await backend.close()


async def test_both_sides_of_grpc_show_certificates_and_the_clients_tells_its_tenant(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost")
    tls = Tls(certificate_file=certificate, key_file=key, client_ca_file=authority.file)
    async with running(Gateway(confirm=1, tls=tls), acme=Tenant(certificates=("acme-app",))) as (
        world,
        server,
    ):
        url = f"grpcs://localhost:{server.address.rpartition(':')[2]}"

        def backend(name: str | None) -> GrpcBackend:
            pair = authority.issue(name) if name is not None else (None, None)
            files = {"ca_file": authority.file, "certificate_file": pair[0], "key_file": pair[1]}
            target = grpc_target(url, tls=files, instances=[{"url": url}])
            return GrpcBackend(target.instances[0], target)

        assert await answered(world, backend("acme-app")) == "over tls"
        assert dict(world.requests()[0].headers)["relay.tenant"] == b"acme"
        for name, error_class in (("stranger", ErrorClass.AUTH), (None, ErrorClass.CONNECT)):
            with pytest.raises(MessageError) as caught:
                await answered(world, backend(name))
            assert caught.value.error_class is error_class


async def test_a_certificate_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    tls = Tls(certificate_file=str(tmp_path / "none.pem"), key_file=str(tmp_path / "none.key"))
    with pytest.raises(UsageError, match=r"gateway\.tls"):
        async with running(Gateway(confirm=1, tls=tls)):
            pass


async def test_a_websocket_backend_trusts_whom_the_topology_says(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("localhost"))
    async with websocket_service(Back(), context) as url:
        url = url.replace("127.0.0.1", "localhost")
        trusting, doubting = (websocket_target(url, tls=tls) for tls in ({"ca_file": authority.file}, {}))
        backend = WebSocketBackend(trusting.instances[0], trusting)
        assert (await backend.call(ASKED)).text == TEXT
        await backend.close()
        backend = WebSocketBackend(doubting.instances[0], doubting)
        with pytest.raises(MessageError, match="can't be trusted") as caught:
            await backend.call(ASKED)
        assert caught.value.error_class is ErrorClass.CONNECT
        await backend.close()


async def test_where_its_port_is_taken_it_listens_on_the_next_free_one() -> None:
    async with running() as (_, first):
        port = int(first.address.rpartition(":")[2])
        async with running(port=port) as (_, second):
            assert port < int(second.address.rpartition(":")[2]) < port + 20


async def test_its_health_is_that_of_the_gateway() -> None:
    async with running() as (world, server), aio.insecure_channel(server.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)

        async def state() -> Any:
            return (await health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)).status

        assert await state() == health_pb2.HealthCheckResponse.SERVING
        world.relay.stop()

        async def not_serving() -> bool:
            return bool(await state() == health_pb2.HealthCheckResponse.NOT_SERVING)

        await eventually(not_serving)
        error = await _failure(MessageRouterStub(channel).ForwardRequest(wire.RequestMessage(input_text="x")))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert dict(error.trailing_metadata() or ())["retry-after"] == "1"


async def test_a_reader_that_is_too_slow_is_told_where_its_answer_is() -> None:
    settings = Gateway(confirm=1, limits=Limits(stream_buffer=20_000))
    async with running(settings) as (world, server), aio.insecure_channel(server.address) as channel:
        stub: Any = MessageRouterStub(channel)
        call = stub.ForwardStream(wire.RequestMessage(input_text="x"), timeout=PATIENCE)
        await eventually(world.requests)
        for index in range(3000):
            world.chunk(world.requests()[0], index, "y" * 1000)
        error = await _failure(_all(call))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def _all(call: Any) -> None:
    async for _ in call:
        pass


async def _failure(asked: Any) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as caught:
        await asked
    return caught.value


async def test_a_stream_of_questions_holds_no_more_of_them_at_once_than_the_topology_allows() -> None:
    settings = Gateway(confirm=1, websocket=WebSockets(in_flight=2))
    async with running(settings) as (world, server), aio.insecure_channel(server.address) as channel:
        stub: Any = MessageRouterStub(channel)
        call = stub.Converse(timeout=PATIENCE)
        for name in ("a", "b", "c"):
            await call.write(wire.ConverseRequest(id=name, request=wire.RequestMessage(input_text="x")))
        refused = await call.read()
        assert (refused.id, refused.response.payload.error.retryable) == ("c", True)
        await eventually(lambda: len(world.requests()) == 2)
        world.reply(world.requests()[0], "room")
        assert (await call.read()).response.status == "ok"
        await call.write(wire.ConverseRequest(id="d", request=wire.RequestMessage(input_text="x")))
        await eventually(lambda: len(world.requests()) == 3)
        call.cancel()


async def test_one_call_too_many_is_told_so_and_room_comes_back() -> None:
    settings = Gateway(confirm=1, limits=Limits(connections=8))
    async with running(settings) as (world, server), aio.insecure_channel(server.address) as channel:
        stub: Any = MessageRouterStub(channel)
        asked = wire.RequestMessage(input_text="x")
        calls = [stub.ForwardRequest(asked, timeout=PATIENCE) for _ in range(8)]
        await eventually(lambda: len(world.requests()) == 8)
        error = await _failure(stub.ForwardRequest(asked, timeout=PATIENCE))
        told = dict(error.trailing_metadata() or ())
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert (told["relay-error-class"], told["retry-after"]) == ("overloaded", "1")
        for record in world.requests():
            world.reply(record)
        await asyncio.gather(*calls)
        again = stub.ForwardRequest(asked, timeout=PATIENCE)
        await eventually(lambda: len(world.requests()) == 9)
        for record in world.requests():
            world.reply(record)
        assert (await again).status == "ok"


async def test_each_call_that_came_while_the_gateway_stood_still_is_told_why_it_is_refused() -> None:
    many, local = 2000, (("grpc.use_local_subchannel_pool", 1),)
    async with running(Gateway(confirm=1, limits=Limits(in_flight=1))) as (world, server):
        channels = [grpc.insecure_channel(server.address, local) for _ in range(2)]
        stubs: list[Any] = [MessageRouterStub(channel) for channel in channels]
        asked = wire.RequestMessage(input_text="x")
        calls = [stubs[number % 2].ForwardRequest.future(asked, timeout=100) for number in range(many)]
        cut_off = threading.Event()
        for call in calls:
            call.add_done_callback(lambda _: cut_off.set())
        # On the loop's own thread: nothing is taken meanwhile, and nothing may end.
        assert not cut_off.wait(1.0)
        await eventually(lambda: sum(call.done() for call in calls) == many - 1, PATIENCE)
        world.reply(world.requests()[0])
        ends = await asyncio.to_thread(lambda: [call.exception(60) for call in calls])
        for channel in channels:
            channel.close()
        told = Counter(
            end and (end.code(), dict(end.trailing_metadata()).get("relay-error-class")) for end in ends
        )
        assert told == {None: 1, (grpc.StatusCode.RESOURCE_EXHAUSTED, ErrorClass.RATE_LIMITED): many - 1}
