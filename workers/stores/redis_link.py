"""A connection to Redis for what every message waits for: scripts, one call after the other.

redis-py connects, with whatever the URL asks for, and hiredis reads and writes; what lies between in redis-py, its
streams, time limits and retries, takes 70 us of CPU a call more (`python -m benchmarks.redis_calls`).
"""

import asyncio
from collections.abc import Sequence
from hashlib import sha1
from typing import Any, cast

import hiredis
import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

_FIRST_WAIT = 0.02  # seconds until a connection is tried for again
_NOT_NOW = ("LOADING", "READONLY", "MASTERDOWN")  # what a Redis says that has run nothing and soon may
Argument = bytes | str | int | float


class _NotYetError(Exception):
    """Nothing was run, and it may be soon; `why` is what to raise where it is waited for no longer."""

    def __init__(self, why: Exception) -> None:
        super().__init__(why)
        self.why = why


class Link(asyncio.Protocol):
    """One connection, with one command under way at a time."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._reader = hiredis.Reader()
        self._reply: asyncio.Future[Any] | None = None
        self.open = True
        self.given_up = False

    def ask(self, command: bytes) -> "asyncio.Future[Any]":
        """Send it, once the last one has its reply; gives the reply, or a `ConnectionError` of redis-py's."""
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(command)
        return self._reply

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._reader.feed(data)
        try:
            while self.open and (reply := self._reader.gets()) is not False:
                self._take(reply)
        except hiredis.ProtocolError as error:
            self._fail(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.open = False
        self._fail(exc)

    def close(self) -> None:
        """Let go of it; a reply that is still to come is nobody's."""
        self.open = False
        self._transport.abort()

    def give_up(self) -> None:
        """Close it, because its reply takes too long."""
        self.given_up = True
        self.close()

    def _take(self, reply: Any) -> None:
        waiting, self._reply = self._reply, None
        if waiting is None:
            self.close()  # what nobody asked for would be taken for the reply to the next command
        elif not waiting.done():
            waiting.set_result(reply)

    def _fail(self, error: Exception | None) -> None:
        if self._reply is not None and not self._reply.done():
            why = type(error).__name__ if error is not None else "closed"
            self._reply.set_exception(redis.exceptions.ConnectionError(why))


class RedisScript:
    """One Lua script in one Redis. Belongs to one event loop; one call at a time.

    A Redis that starts again is waited for within `timeout` seconds (the URL's `socket_timeout`, where it has one),
    unless the last call had waited for it in vain. What may have run is not sent again: nobody knows whether it has.
    """

    def __init__(self, url: str, text: str, timeout: float) -> None:
        client = redis.asyncio.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),  # that is done here
        )
        self._pool = client.connection_pool
        # Not an argument, over which the URL's own would win: with RESP3 Redis says things that nobody asked for.
        self._pool.connection_kwargs["protocol"] = 2
        self._timeout = float(self._pool.connection_kwargs["socket_timeout"] or timeout)
        self._text = text
        self._sha = sha1(text.encode(), usedforsecurity=False).hexdigest()  # how Redis calls it
        self._link: Link | None = None
        self._connection: redis.asyncio.Connection | None = None
        self._connecting: asyncio.Task[Link] | None = None
        self._waits = True
        self._closed = False

    async def __call__(self, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run it. Raises redis-py's `RedisError`, or `OSError`."""
        rest = (len(keys), *keys, *arguments)
        until = asyncio.get_running_loop().time() + self._timeout
        reply = await self._ask(_packed("EVALSHA", self._sha, *rest), until)
        if _says(reply, "NOSCRIPT"):
            reply = await self._ask(_packed("EVAL", self._text, *rest), until)
        if isinstance(reply, hiredis.ReplyError):
            raise redis.exceptions.ResponseError(str(reply))
        return reply

    async def close(self) -> None:
        """Let go of the connection."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        await self._drop()
        await self._pool.aclose()

    async def _ask(self, command: bytes, until: float) -> Any:
        """Ask once there is a connection and Redis can do something, unless it was waited for in vain before."""
        loop = asyncio.get_running_loop()
        wait = _FIRST_WAIT
        while True:
            try:
                reply = await self._ask_now(command, until)
            except _NotYetError as early:
                if not self._waits or loop.time() + wait >= until:
                    self._waits = False
                    raise early.why from early
            else:
                self._waits = True
                return reply
            await asyncio.sleep(wait)
            wait *= 2

    async def _ask_now(self, command: bytes, until: float) -> Any:
        """Raises `_NotYetError` where the command did not run, and may later."""
        link = self._link
        if link is None or not link.open:
            link = await self._connected(until)
        reply = await self._reply(link, command, until)
        if _says(reply, *_NOT_NOW):
            link.close()
            raise _NotYetError(redis.exceptions.ResponseError(str(reply)))
        return reply

    async def _reply(self, link: Link, command: bytes, until: float) -> Any:
        alarm = asyncio.get_running_loop().call_at(until, link.give_up)
        try:
            return await link.ask(command)
        except asyncio.CancelledError:
            link.close()
            raise
        except redis.exceptions.ConnectionError as error:
            if link.given_up:  # the clock doesn't tell: a timer may ring a moment early
                raise redis.exceptions.TimeoutError(f"no reply within {self._timeout:g} s") from error
            raise
        finally:
            alarm.cancel()

    # -- connecting --------------------------------------------------------------------------------------------------

    async def _connected(self, until: float) -> Link:
        """Connect, or wait for what an earlier call began: a slow one is not begun anew by each."""
        if self._closed:
            raise redis.exceptions.ConnectionError("closed")
        loop = asyncio.get_running_loop()
        task = self._connecting
        if task is None or (task.done() and task.exception() is not None):
            task = self._connecting = loop.create_task(self._connect())
        await asyncio.wait({task}, timeout=until - loop.time())
        if not task.done():
            self._waits = False
            raise redis.exceptions.TimeoutError(f"no connection within {self._timeout:g} s")
        self._connecting = None
        if task.cancelled():
            raise redis.exceptions.ConnectionError("closed")
        try:
            link = task.result()
        except redis.exceptions.AuthenticationError:
            raise
        except (redis.exceptions.ConnectionError, OSError) as error:
            raise _NotYetError(error) from error
        if not link.open:
            raise _NotYetError(redis.exceptions.ConnectionError("closed as soon as it was open"))
        return link

    async def _connect(self) -> Link:
        """redis-py connects, secures and signs in; from then on the connection is ours."""
        await self._drop()
        self._connection = connection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # as redis-py has it
        await connection.connect()
        writer = cast("asyncio.StreamWriter", connection._writer)  # noqa: SLF001 - there is no other way to it
        transport = cast("asyncio.Transport", writer.transport)
        self._link = Link(transport)
        transport.set_protocol(self._link)
        return self._link

    async def _drop(self) -> None:
        self._link = None
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


def _says(reply: Any, *codes: str) -> bool:
    """Whether it is an error that begins with one of these."""
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith(codes)


def _packed(*words: Argument) -> bytes:
    packed: bytes = hiredis.pack_command(cast("Any", words))  # its types know one word only
    return packed
