"""WebSockets with the `websockets` client, against a running fleet with two gateways and a store between them."""

import asyncio
import re
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.fleet import Fleet, running_fleet
from tests.processes import Process, free_port, get
from tests.support import eventually, unique
from workers.local.stub_model import TEXT

pytestmark = pytest.mark.asyncio(loop_scope="module")

IDLE = 1000
PATIENCE = 60.0


class Site(NamedTuple):
    """A fleet, and the addresses of its two gateways."""

    fleet: Fleet
    first: str
    second: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A router, a worker that keeps conversations, two gateways, Redis."""
    target = {
        "conversation": {"turns": 2, "when_store_down": "pause"},
        "ordering": "key",
        "timeout": "2s",  # which ends a stream that was begun, and no message: there is always another attempt
        "retry": {"attempts": 100, "initial": "20ms", "max": "50ms"},
        "breaker": {"min_calls": 1000},
    }
    limits = {"body": 20_000, "stream_buffer": 65_536}
    more = {"gateway": {"confirm": "30s", "limits": limits, "websocket": {"stall": "1s"}}}
    ports = free_port(), free_port()
    directory = tmp_path_factory.mktemp("fleet")
    async with running_fleet(kafka, directory, target=target, more=more, with_redis=True) as fleet:
        await asyncio.gather(
            fleet.add("router"),
            fleet.add("worker"),
            *(fleet.add("gateway", "--port", str(port)) for port in ports),
        )
        yield Site(fleet, *(f"ws://127.0.0.1:{port}/ws" for port in ports))


@pytest.fixture
def site(running: Site) -> Site:
    """The same, with a stub model that behaves again."""
    running.fleet.misbehave()
    return running


@contextmanager
def nothing_routed(site: Site) -> Iterator[None]:
    """Until the end of this no question is answered, however long that takes."""
    (router,) = site.fleet.of("router")
    router.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        router.signal(signal.SIGCONT)


async def send(client: ClientConnection, kind: str, **frame: Any) -> None:
    """Send a frame."""
    await client.send(orjson.dumps({"type": kind, **frame}).decode())


async def until(
    client: ClientConnection, kind: str, name: str | None = None, patience: float = PATIENCE
) -> list[dict[str, Any]]:
    """The frames up to the first of this type, and for this request where it is named."""
    frames: list[dict[str, Any]] = []
    async with asyncio.timeout(patience):
        while not frames or frames[-1]["type"] != kind or (name and frames[-1].get("id") != name):
            frames.append(orjson.loads(await client.recv()))
    return frames


async def asked(client: ClientConnection, *names: str) -> None:
    """Ask a question under each of these ids, and wait until every one is accepted."""
    for name in names:
        await send(client, "ask", id=name, text=f"hello {name}")
    missing = set(names)
    while missing:
        missing.remove((await until(client, "accepted"))[-1]["id"])


async def resumed(address: str, session: str, names: set[str]) -> None:
    """Get the answers to these questions, on another connection where one ends: whoever reads slowly is dropped."""
    missing = set(names)
    while missing:
        with suppress(ConnectionClosed):
            async with connect(address) as client:
                await send(client, "resume", session=session, have=list(names - missing))
                while (
                    missing
                ):  # a killed gateway's group finds out that it is dead, and others read what came for it
                    missing.remove((await until(client, "answer", patience=90))[-1]["id"])


async def ended(client: ClientConnection) -> None:
    """Read until the connection ends."""
    with suppress(ConnectionClosed):
        while True:
            await client.recv()


async def test_many_questions_at_once_each_get_their_own_answer(site: Site) -> None:
    async with connect(site.first) as client:
        names = [f"q{number}" for number in range(40)]
        for name in names:
            await send(client, "ask", id=name, text="hello", stream=name.endswith("0"))
        answers: dict[str, Any] = {}
        while len(answers) < len(names):
            frame = (await until(client, "answer"))[-1]
            answers[frame["id"]] = frame["response"]
    assert {answer["payload"]["text"] for answer in answers.values()} == {TEXT}
    assert len({answer["message_id"] for answer in answers.values()}) == len(names)


async def test_a_stream_comes_in_pieces_while_the_model_writes(site: Site) -> None:
    site.fleet.misbehave(chunk_delay_ms=600_000)
    async with connect(site.first) as client:
        await send(client, "ask", id="q", text="hello", stream=True)
        assert (await until(client, "chunk", "q"))[-1]["text"] == TEXT.split(" ")[0]
        site.fleet.misbehave()
        frames = await until(client, "answer", "q")
    attempts = {frame["attempt"] for frame in frames if frame["type"] == "chunk"}
    assert min(attempts) > 1  # the one that took too long was given up, and its pieces replaced
    last = [frame for frame in frames if frame["type"] == "chunk" and frame["attempt"] == max(attempts)]
    assert "".join(frame["text"] for frame in last) == TEXT


async def test_after_a_reconnect_to_another_gateway_the_answers_are_there(site: Site) -> None:
    async with connect(site.first) as client:
        (welcome,) = await until(client, "welcome")
        with nothing_routed(site):
            await asked(client, "a", "b")
            await client.close()
    async with connect(site.second) as client:
        await send(client, "resume", session=welcome["session"], have=["a"])
        frames = await until(client, "answer", "b")
    assert [frame["pending"] for frame in frames if frame["type"] == "resumed"] == [["b"]]
    assert frames[-1]["response"]["payload"]["text"] == TEXT


async def test_a_conversation_is_told_to_the_model_turn_by_turn(site: Site) -> None:
    """The prompt's tokens tell how much was said before: the stub counts them."""
    session = unique("session")
    counted = []
    async with connect(site.first) as client:
        for number in range(4):
            payload = {"text": "hello", "session_id": session}
            await send(client, "ask", id=f"t{number}", payload=payload)
            answer = (await until(client, "answer", f"t{number}"))[-1]["response"]
            counted.append(answer["payload"]["usage"]["prompt_tokens"])
        payload = {"text": "hello", "session_id": unique("other")}
        await send(client, "ask", id="other", payload=payload)
        answer = (await until(client, "answer", "other"))[-1]["response"]
    assert counted[0] < counted[1] < counted[2] == counted[3]
    assert answer["payload"]["usage"]["prompt_tokens"] == counted[0]


async def test_a_thousand_connections_stay_open_while_one_of_them_talks(site: Site) -> None:
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(files, 4096), most), most))
    gateway = gateway_of(site, site.second)
    before = memory(gateway)
    async with AsyncExitStack() as stack:
        clients: list[ClientConnection] = []
        for _ in range(IDLE // 50):
            opening = (connect(site.second, ping_interval=None, compression=None) for _ in range(50))
            clients += await asyncio.gather(*(stack.enter_async_context(one) for one in opening))
        await eventually(lambda: metric(gateway, "relayfleet_gateway_websockets") == IDLE, PATIENCE)
        await send(clients[-1], "ask", id="q", text="hello")
        assert (await until(clients[-1], "answer", "q"))[-1]["response"]["status"] == "ok"
        await asyncio.gather(*(send(client, "ping") for client in clients))
        await asyncio.gather(*(until(client, "pong") for client in clients))
        assert memory(gateway) - before < 100 * IDLE * 1024
        await asyncio.gather(*(client.close() for client in clients))
    await eventually(lambda: metric(gateway, "relayfleet_gateway_websockets") == 0, PATIENCE)


async def test_a_reader_that_takes_nothing_is_dropped_and_its_answers_are_found(site: Site) -> None:
    # Together more than what sockets hold, and not before everything is asked.
    site.fleet.misbehave(answer_bytes=300_000)
    client = await connect(site.first, max_queue=1, compression=None)
    (welcome,) = await until(client, "welcome")
    names = [f"q{number}" for number in range(60)]
    with nothing_routed(site):
        await asked(client, *names)
    gateway = gateway_of(site, site.first)
    await eventually(lambda: metric(gateway, "relayfleet_gateway_websockets") == 0, PATIENCE)
    client.transport.abort()
    await ended(client)
    await resumed(site.first, welcome["session"], set(names))


async def test_a_frame_that_is_too_large_ends_the_connection_and_one_at_the_limit_does_not(
    site: Site,
) -> None:
    async with connect(site.first) as client:
        await send(client, "ask", id="q", text="x" * 19_000)
        await until(client, "answer", "q")
        await send(client, "ask", id="q", text="x" * 20_001)
        with pytest.raises(ConnectionClosed) as closed:
            await until(client, "answer", "q")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_a_page_of_another_origin_is_kept_out(site: Site) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(site.first, origin="https://evil.example"):  # type: ignore[arg-type]  # its own name for a str
            pass
    assert refused.value.response.status_code == 403


async def test_a_gateway_that_is_killed_loses_no_answer(site: Site) -> None:
    port = free_port()
    gateway = await site.fleet.add("gateway", "--port", str(port))
    client = await connect(f"ws://127.0.0.1:{port}/ws")
    (welcome,) = await until(client, "welcome")
    names = [f"q{number}" for number in range(20)]
    with nothing_routed(site):
        await asked(client, *names)
        await gateway.kill()
    await ended(client)
    await resumed(site.first, welcome["session"], set(names))


def gateway_of(site: Site, address: str) -> Process:
    """The process behind an address."""
    port = address.rpartition(":")[2].partition("/")[0]
    return next(one for one in site.fleet.of("gateway") if port in one.command)


def metric(process: Process, name: str) -> float | None:
    """A metric of a process."""
    page = get(f"http://127.0.0.1:{process.health_port}/metrics") or b""
    found = re.search(rf"^{name} (.+)$".encode(), page, re.MULTILINE)
    return float(found[1]) if found else None


def memory(process: Process) -> int:
    """Bytes of memory that a process holds."""
    assert process.popen is not None
    pages = Path(f"/proc/{process.popen.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()
