"""Scripts in a Redis that starts again, breaks off, stays silent, or asks who is there; with both event loops."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.exceptions
from cryptography import x509
from redis.asyncio import Redis

from tests.integration.test_http_client_tls import certificate
from tests.integration.test_local_parts import start
from tests.processes import free_port
from tests.scripted_http import Scenario, called, on_the_loop_of_workers
from tests.scripted_redis import Server, serving
from tests.support import eventually
from workers.local.children import Child
from workers.local.probes import redis_ready
from workers.local.redis import redis_command, redis_server
from workers.stores.redis_link import RedisScript

LONG = 60.0  # a time limit that ends nothing
TEXT = "if ARGV[1] == 'fail' then return redis.error_reply('NO it is not') end return {KEYS[1], ARGV[1]}"


@asynccontextmanager
async def script(url: str, timeout: float = LONG) -> AsyncIterator[RedisScript]:
    made = RedisScript(url, TEXT, timeout)
    try:
        yield made
    finally:
        await made.close()


def breaks(run: RedisScript) -> bool:
    """Whether it knows that its connection is gone."""
    return run._link is not None and not run._link.open


@asynccontextmanager
async def a_redis(tmp_path: Path, port: int, *options: str) -> AsyncIterator[Child]:
    command = (*redis_command(redis_server(), tmp_path / "data", port), *options)
    child = await start(command, redis_ready(port), tmp_path)
    try:
        yield child
    finally:
        child.kill()
        await child.wait()


async def test_a_script_runs_by_its_digest_and_is_sent_again_where_redis_forgot_it(tmp_path: Path) -> None:
    port = free_port()
    async with a_redis(tmp_path, port), script(f"redis://127.0.0.1:{port}/0") as run, Redis(port=port) as eye:
        for _ in range(3):
            assert await run(["k"], ["v"]) == [b"k", b"v"]
        assert (await eye.info("commandstats"))["cmdstat_eval"]["calls"] == 1
        await eye.script_flush()
        assert await run(["ключ"], [b"\x00\xff"]) == ["ключ".encode(), b"\x00\xff"]


async def test_what_the_script_refuses_is_an_error_and_the_next_call_is_none(tmp_path: Path) -> None:
    port = free_port()
    async with a_redis(tmp_path, port), script(f"redis://127.0.0.1:{port}/0") as run:
        with pytest.raises(redis.exceptions.ResponseError, match="it is not"):
            await run(["k"], ["fail"])
        assert await run(["k"], ["v"]) == [b"k", b"v"]


async def test_it_signs_in_and_uses_the_database_of_its_url(tmp_path: Path) -> None:
    port = free_port()
    command = (*redis_command(redis_server(), tmp_path / "data", port), "--requirepass", "CANARY")
    child = await Child.spawn(command, log=tmp_path / "log", environment={}, directory=tmp_path)
    try:
        async with Redis(port=port, password="CANARY", db=3) as eye:
            await eventually(lambda: listens(port))
            set_it = RedisScript(
                f"redis://:CANARY@127.0.0.1:{port}/3", "return redis.call('SET', KEYS[1], ARGV[1])", LONG
            )
            assert await set_it(["k"], ["v"]) == b"OK"
            assert await eye.get("k") == b"v"
            await set_it.close()
        async with script(f"redis://:wrong@127.0.0.1:{port}/3") as stranger:
            with pytest.raises(redis.exceptions.RedisError) as caught:
                await stranger(["k"], ["v"])
            assert "CANARY" not in str(caught.value)
    finally:
        child.kill()
        await child.wait()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_a_connection_that_was_closed_while_it_was_idle_costs_nobody_anything(tmp_path: Path) -> None:
    port = free_port()
    async with a_redis(tmp_path, port), script(f"redis://127.0.0.1:{port}/0") as run, Redis(port=port) as eye:
        await run(["k"], ["v"])
        assert await eye.client_kill_filter(_type="normal", skipme=True) == 1
        await eventually(lambda: breaks(run))
        assert await run(["k"], ["v"]) == [b"k", b"v"]


async def test_a_redis_that_starts_again_is_waited_for(tmp_path: Path) -> None:
    port = free_port()
    async with script(f"redis://127.0.0.1:{port}/0") as run:
        async with a_redis(tmp_path, port):
            await run(["k"], ["v"])
        await eventually(lambda: breaks(run))
        asked = asyncio.create_task(run(["k"], ["v"]))
        async with a_redis(tmp_path, port):
            assert await asked == [b"k", b"v"]


async def test_one_that_is_gone_is_waited_for_once(tmp_path: Path) -> None:
    port = free_port()
    async with script(f"redis://127.0.0.1:{port}/0", 0.2) as run:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises((redis.exceptions.RedisError, OSError)):
            await run(["k"], ["v"])
        assert loop.time() - began > 0.1
        run._timeout = LONG
        async with asyncio.timeout(LONG / 2):
            with pytest.raises((redis.exceptions.RedisError, OSError)):
                await run(["k"], ["v"])
        async with a_redis(tmp_path, port):
            assert await run(["k"], ["v"]) == [b"k", b"v"]


async def test_a_call_whose_connection_breaks_is_not_made_again_for_it_may_have_run() -> None:
    async def breaks_once(connection: int, _: list[bytes]) -> bytes | None:
        return None if connection == 1 else b"+yes\r\n"

    async with serving(breaks_once) as server, script(server.url) as run:
        with pytest.raises(redis.exceptions.ConnectionError):
            await run(["k"], ["v"])
        assert server.asked == 1
        assert await run(["k"], ["v"]) == b"yes"


async def test_connections_that_are_closed_at_once_are_not_made_without_pause() -> None:
    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        while (await reader.read(65536)).count(b"\r\nSETINFO\r\n") == 0:
            writer.write(b"+OK\r\n")
        writer.write(b"+OK\r\n+OK\r\n")
        writer.transport.close()

    async def no(_: int, __: list[bytes]) -> bytes | None:
        return None

    server, port = Server(no), free_port()
    async with (
        await asyncio.start_server(hangs_up, "127.0.0.1", port),
        script(f"redis://127.0.0.1:{port}/0", 1.0) as run,
    ):
        with pytest.raises(redis.exceptions.RedisError):
            await run(["k"], ["v"])
        assert 1 <= server.connections < 20


@pytest.mark.parametrize("code", ["LOADING Redis is", "READONLY You can't", "MASTERDOWN Link"])
async def test_a_redis_that_can_do_nothing_yet_is_asked_again_on_another_connection(code: str) -> None:
    async def later(connection: int, _: list[bytes]) -> bytes | None:
        return b"+yes\r\n" if connection == 3 else f"-{code} ...\r\n".encode()

    async with serving(later) as server, script(server.url) as run:
        assert await run(["k"], ["v"]) == b"yes"


async def test_one_that_can_do_nothing_for_long_says_why() -> None:
    async def never(_: int, __: list[bytes]) -> bytes | None:
        return b"-LOADING Redis is loading\r\n"

    async with serving(never) as server, script(server.url, 2.0) as run:
        for _ in range(3):
            with pytest.raises(redis.exceptions.ResponseError, match="LOADING"):
                await run(["k"], ["v"])
            asked, server.asked = server.asked, 0
        assert asked == 1


async def test_what_nobody_asked_for_is_nobodys_reply() -> None:
    async def twice_at_first(connection: int, _: list[bytes]) -> bytes | None:
        return b"+mine\r\n+stray\r\n" if connection == 1 else b"+next\r\n"

    async with serving(twice_at_first) as server, script(server.url) as run:
        assert await run(["k"], ["v"]) == b"mine"
        assert await run(["k"], ["v"]) == b"next"


async def test_a_url_that_asks_for_another_protocol_gets_this_one(tmp_path: Path) -> None:
    port = free_port()
    async with a_redis(tmp_path, port), script(f"redis://127.0.0.1:{port}/0?protocol=3") as run:
        assert await run(["k"], ["v"]) == [b"k", b"v"]


async def test_the_time_limit_of_the_url_counts() -> None:
    late = asyncio.Event()

    async def never(_: int, __: list[bytes]) -> bytes | None:
        await late.wait()
        return None

    async with serving(never) as server, script(f"{server.url}?socket_timeout=0.1") as run:
        with pytest.raises(redis.exceptions.TimeoutError, match=r"0\.1 s"):
            await run(["k"], ["v"])
        late.set()


async def test_a_slow_sign_in_costs_one_call_and_the_next_has_its_connection() -> None:
    async def yes(_: int, __: list[bytes]) -> bytes | None:
        return b"+yes\r\n"

    async with serving(yes) as server, script(f"{server.url}?socket_timeout=60", 60) as run:
        server.signs_in.clear()
        run._timeout = 0.1
        with pytest.raises(redis.exceptions.TimeoutError, match="no connection"):
            await run(["k"], ["v"])
        assert server.asked == 0
        run._timeout = LONG
        server.signs_in.set()
        assert await run(["k"], ["v"]) == b"yes"
        assert server.connections == 1


async def test_one_that_is_closed_connects_no_more(tmp_path: Path) -> None:
    port = free_port()
    async with a_redis(tmp_path, port), script(f"redis://127.0.0.1:{port}/0") as run:
        await run.close()
        with pytest.raises(redis.exceptions.ConnectionError, match="closed"):
            await run(["k"], ["v"])


async def test_a_socket_of_the_file_system_is_as_good(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "redis.sock"
    async with a_redis(tmp_path, port, "--unixsocket", str(path)), script(f"unix://{path}") as run:
        assert await run(["k"], ["v"]) == [b"k", b"v"]


async def test_a_reply_that_comes_too_late_is_nobodys() -> None:
    late = asyncio.Event()

    async def slow_once(_: int, __: list[bytes]) -> bytes | None:
        if server.asked == 2:
            await late.wait()
            return b"+late\r\n"
        return b"+in time\r\n"

    async with serving(slow_once) as server, script(server.url) as run:
        await run(["k"], ["v"])
        run._timeout = 0.2
        with pytest.raises(redis.exceptions.TimeoutError):
            await run(["k"], ["v"])
        run._timeout = LONG
        late.set()
        assert await run(["k"], ["v"]) == b"in time"


async def test_who_gives_up_leaves_no_reply_for_the_next() -> None:
    late = asyncio.Event()

    async def slow_once(connection: int, _: list[bytes]) -> bytes | None:
        if connection == 1:
            await late.wait()
            return b"+late\r\n"
        return b"+in time\r\n"

    async with serving(slow_once) as server, script(server.url) as run:
        asked = asyncio.create_task(run(["k"], ["v"]))
        await eventually(lambda: server.asked == 1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        late.set()
        assert await run(["k"], ["v"]) == b"in time"


async def test_what_is_not_redis_is_an_error() -> None:
    async def http(_: int, __: list[bytes]) -> bytes | None:
        return b"HTTP/1.1 400 Bad Request\r\n\r\n"

    async with serving(http) as server, script(server.url, 0.2) as run:
        with pytest.raises(redis.exceptions.RedisError):
            await run(["k"], ["v"])


async def test_a_reply_in_pieces_is_one_reply() -> None:
    writing: list[asyncio.StreamWriter] = []

    async def no(_: int, __: list[bytes]) -> bytes | None:
        return b"$9\r\nin "

    server = Server(no)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writing.append(writer)
        await server.serve(reader, writer)

    port = free_port()
    async with (
        await asyncio.start_server(serve, "127.0.0.1", port),
        script(f"redis://127.0.0.1:{port}/0") as run,
    ):
        asked = asyncio.create_task(run(["k"], ["v"]))
        await eventually(lambda: server.asked == 1)
        for piece in (b"pie", b"ces\r", b"\n"):
            writing[0].write(piece)
            await writing[0].drain()
            await asyncio.sleep(0)
        assert await asked == b"in pieces"


TRUSTED = pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "unknown issuer"])


@TRUSTED
async def test_over_tls_a_redis_has_to_prove_who_it_is(tmp_path: Path, trusted: bool) -> None:
    async def yes(_: int, __: list[bytes]) -> bytes | None:
        return b"+yes\r\n"

    context, file = certificate(tmp_path, x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    async with serving(yes, context) as server:
        url = f"{server.url}?ssl_ca_certs={file}" if trusted else server.url
        async with script(url, LONG if trusted else 0.5) as run:
            if trusted:
                assert await run(["k"], ["v"]) == b"yes"
            else:
                with pytest.raises((redis.exceptions.RedisError, OSError)):
                    await run(["k"], ["v"])


@TRUSTED
def test_over_tls_on_the_loop_of_workers(tmp_path: Path, trusted: bool) -> None:
    on_the_loop_of_workers(lambda: test_over_tls_a_redis_has_to_prove_who_it_is(tmp_path, trusted))


@pytest.mark.parametrize(
    "scenario",
    [
        test_a_call_whose_connection_breaks_is_not_made_again_for_it_may_have_run,
        test_what_nobody_asked_for_is_nobodys_reply,
        test_a_slow_sign_in_costs_one_call_and_the_next_has_its_connection,
        test_the_time_limit_of_the_url_counts,
        test_a_reply_that_comes_too_late_is_nobodys,
        test_who_gives_up_leaves_no_reply_for_the_next,
        test_what_is_not_redis_is_an_error,
        test_a_reply_in_pieces_is_one_reply,
    ],
    ids=called,
)
def test_the_same_on_the_loop_of_workers(scenario: Scenario) -> None:
    on_the_loop_of_workers(scenario)
