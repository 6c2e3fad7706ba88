"""What one HTTP connection makes of the bytes that come, in whatever pieces they come."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ErrorClass
from tests.unit.backends.wires import CHUNKED, OK, Server, failure, whole
from workers.backends import http_connection
from workers.backends.http_connection import MAX_OVERHEAD, HttpResponse, StaleError
from workers.backends.http_stream import HttpStream
from workers.core.errors import MessageError


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def in_chunks(body: bytes, sizes: Sequence[int]) -> bytes:
    wire = b""
    for size in sizes:
        piece, body = body[:size], body[size:]
        if piece:
            wire += b"%x;ext=1\r\n%s\r\n" % (len(piece), piece)
    if body:
        wire += b"%X\r\n%s\r\n" % (len(body), body)
    return wire + b"0\r\ntrailer: 1\r\n\r\n"


@given(
    body=st.binary(max_size=200),
    chunks=st.none() | st.lists(st.integers(1, 40), max_size=6),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(
    body: bytes, chunks: list[int] | None, cuts: list[int]
) -> None:
    if chunks is None:
        data = b"HTTP/1.1 207 Some\r\nX-Name: a value \r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    else:
        data = b"HTTP/1.1 207 Some\r\nX-Name: a value\r\nTransfer-Encoding: chunked\r\n\r\n"
        data += in_chunks(body, chunks)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})

    async def scenario() -> None:
        server = Server()
        for _ in range(2):  # and so does the next one on the same connection
            answer = server.ask()
            server.say(*(data[start:end] for start, end in itertools.pairwise(places)))
            response = answer.result()
            assert (response.status, response.body) == (207, body)
            assert response.header("x-name") == "a value"
        assert (server.freed, server.wire.closed) == (2, False)

    run(scenario)


@given(st.binary(max_size=300))
def test_whatever_comes_there_is_an_answer_or_an_error_and_nothing_else(data: bytes) -> None:
    async def scenario() -> None:
        for start in (b"", OK[:30], CHUNKED):
            server = Server()
            answer = server.ask()
            server.say(start + data)
            server.hang_up()
            assert isinstance(answer.exception(), MessageError) or isinstance(answer.result(), HttpResponse)
            assert server.lost == 1

    run(scenario)


async def test_a_word_to_go_on_is_not_the_answer() -> None:
    response = await whole(
        b"HTTP/1.1 100 Continue\r\nx: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", OK
    )
    assert (response.status, response.body) == (200, b"hi")
    assert response.header("link") is None


async def test_an_upgrade_that_nobody_asked_for_is_no_answer() -> None:
    server = Server()
    answer = server.ask()
    server.say(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc")
    assert failure(answer).error_class is ErrorClass.UPSTREAM_5XX
    assert server.wire.closed


@pytest.mark.parametrize("head", [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n\r\n"])
async def test_an_answer_without_body_is_whole_with_its_head(head: bytes) -> None:
    server = Server()
    answer = server.ask()
    server.say(head)
    assert answer.result().body == b""
    assert server.freed == 1


async def test_the_answer_to_head_has_no_body_whatever_it_says_of_its_length() -> None:
    server = Server()
    answer = server.ask(head=True)
    server.say(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")
    assert answer.result().body == b""
    assert (server.freed, server.wire.closed) == (0, True)


async def test_an_answer_that_tells_no_length_ends_with_the_connection() -> None:
    server = Server()
    answer = server.ask()
    server.say(b"HTTP/1.0 200 OK\r\n\r\nun", b"til")
    assert not answer.done()
    server.hang_up()
    assert answer.result().body == b"until"
    assert server.freed == 0


@pytest.mark.parametrize(
    "rest",
    [OK, b"HTTP/1.1 500 No\r\n\r\n", b"garbage", b"H"],
    ids=["another answer", "half another", "garbage", "one letter"],
)
@pytest.mark.parametrize("together", [True, False])
async def test_what_comes_behind_an_answer_is_nobodys(rest: bytes, together: bool) -> None:
    server = Server()
    answer = server.ask()
    server.say(OK + rest) if together else server.say(OK, rest)
    assert answer.result().body == b"hi"
    assert server.wire.closed


@pytest.mark.parametrize("line", [b"Connection: close\r\n", b""])
async def test_a_server_that_closes_gets_no_second_request(line: bytes) -> None:
    server = Server()
    answer = server.ask()
    version = b"1.1" if line else b"1.0"
    server.say(b"HTTP/" + version + b" 200 OK\r\n" + line + b"content-length: 2\r\n\r\nhi")
    assert answer.result().body == b"hi"
    assert (server.freed, server.wire.closed) == (0, True)


async def test_an_answer_before_the_request_was_sent_whole_ends_the_connection() -> None:
    server = Server()
    answer = server.ask()
    server.wire.unsent = 1
    server.say(OK)
    assert answer.result().body == b"hi"
    assert (server.freed, server.wire.closed) == (0, True)


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 ", CHUNKED + b"2;", CHUNKED + b"2\r\nhi\r\n0\r\nx: ", b""],
    ids=["header", "phrase", "chunk extension", "trailer", "go on"],
)
async def test_a_head_without_end_is_cut_off(start: bytes) -> None:
    server = Server()
    answer = server.ask()
    more = b"a" * 1024 if start else b"HTTP/1.1 100 Continue\r\n\r\n" * 40
    server.say(start, *([more] * (2 + MAX_OVERHEAD // 1000)))
    assert failure(answer).error_class is ErrorClass.UPSTREAM_5XX
    assert server.wire.closed


async def test_a_body_larger_than_the_limit_is_cut_off() -> None:
    server = Server()
    answer = server.ask()
    server.say(CHUNKED, *([b"64\r\n" + b"x" * 100 + b"\r\n"] * 11))
    error = failure(answer)
    assert (error.error_class, error.status) == (ErrorClass.UPSTREAM_5XX, 200)
    assert server.wire.closed


@pytest.mark.parametrize(
    "data", [b"H", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi", CHUNKED + b"2\r\nhi\r\n", CHUNKED]
)
async def test_an_answer_that_breaks_off_is_a_broken_connection(data: bytes) -> None:
    server = Server()
    answer = server.ask()
    server.say(data)
    server.hang_up()
    assert failure(answer).error_class is ErrorClass.CONNECT
    assert server.lost == 1


async def test_a_kept_connection_that_had_been_closed_is_told_from_one_that_broke(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def second(*said: bytes) -> BaseException | None:
        server = Server()
        await server.answered()
        answer = server.ask()
        server.say(*said)
        server.hang_up()
        return answer.exception()

    monkeypatch.setattr(http_connection, "RACE", 3600.0)  # it ended right after the request
    assert isinstance(await second(), StaleError)
    assert isinstance(await second(b"H"), MessageError)
    monkeypatch.setattr(http_connection, "RACE", -1.0)  # it ended a long while after the request
    assert isinstance(await second(), MessageError)


async def test_a_connection_that_closed_before_it_was_used_takes_no_request() -> None:
    server = Server()
    server.wire.closed = True
    answer = server.ask()
    assert isinstance(answer.exception(), StaleError)
    assert server.wire.written == b""


async def test_giving_up_on_what_was_answered_meanwhile_leaves_the_connection_to_the_next() -> None:
    server = Server()
    await server.answered()
    first = server.tell
    second = server.ask()
    server.connection.cancel(first)
    assert not server.wire.closed
    assert not second.done()
    server.connection.cancel(server.tell)
    assert server.wire.closed


@pytest.mark.parametrize(("said", "what"), [(b"", "not answer"), (b"HTTP/1.1", "not finish")])
async def test_the_reason_of_a_timeout_says_whether_anything_came(said: bytes, what: str) -> None:
    server = Server()
    answer = server.ask(seconds=0)
    if said:
        server.say(said)
    with pytest.raises(MessageError, match=what) as caught:
        await answer
    assert caught.value.error_class is ErrorClass.TIMEOUT
    assert server.wire.closed


async def test_a_stream_gives_what_came_and_then_the_error() -> None:
    server = Server()
    answer = server.ask(streamed=True)
    server.say(CHUNKED, b"2\r\nhi\r\n", b"2\r\nho\r\n")
    stream: HttpStream = answer.result()
    server.hang_up()
    assert [await anext(stream), await anext(stream)] == [b"hi", b"ho"]
    with pytest.raises(MessageError) as caught:
        await anext(stream)
    assert caught.value.error_class is ErrorClass.CONNECT


async def test_a_slow_reader_stops_the_server_and_the_next_request_finds_it_going(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.backends.http_stream._MOST_HELD", 50)
    server = Server()
    answer = server.ask(streamed=True)
    server.say(b"HTTP/1.1 200 OK\r\ncontent-length: 300\r\n\r\n", b"x" * 60)
    stream: HttpStream = answer.result()
    reading = [server.wire.reading]
    await anext(stream)
    reading.append(server.wire.reading)
    assert reading == [False, True]
    server.connection.data_received(b"x" * 240)
    assert server.wire.reading
    assert server.freed == 1
    assert await stream.read() == b"x" * 240
