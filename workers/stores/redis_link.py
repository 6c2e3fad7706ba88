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
Argument = bytes | str | int | float


class Link(asyncio.Protocol):
    """One connection, with one command under way at a time."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._reader = hiredis.Reader()
        self._reply: asyncio.Future[Any] | None = None
        self.open = True

    def ask(self, command: bytes) -> "asyncio.Future[Any]":
        """Send it; gives the reply, or a `ConnectionError` of redis-py's."""
        assert self._reply is None or self._reply.done()  # noqa: S101 - one at a time
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(command)
        return self._reply

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._reader.feed(data)
        try:
            reply = self._reader.gets()
        except hiredis.ProtocolError as error:
            self._fail(error)
            self.close()
            return
        if reply is not False and self._reply is not None and not self._reply.done():
            self._reply.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.open = False
        self._fail(exc)

    def close(self) -> None:
        """Let go of it; a reply that is still to come is nobody's."""
        self.open = False
        self._transport.abort()

    def _fail(self, error: Exception | None) -> None:
        if self._reply is not None and not self._reply.done():
            why = type(error).__name__ if error is not None else "closed"
            self._reply.set_exception(redis.exceptions.ConnectionError(why))


class RedisScript:
    """One Lua script in one Redis. Belongs to one event loop; one call at a time.

    A Redis that starts again is waited for within `timeout` seconds, unless the last call had waited for it in vain.
    """

    def __init__(self, url: str, text: str, timeout: float) -> None:
        client = redis.asyncio.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            protocol=2,
            retry=Retry(NoBackoff(), 0),  # that is done here
        )
        self._pool = client.connection_pool
        self._text = text
        self._sha = sha1(text.encode(), usedforsecurity=False).hexdigest()  # how Redis calls it
        self._timeout = timeout
        self._link: Link | None = None
        self._connection: redis.asyncio.Connection | None = None
        self._waits = True

    async def __call__(self, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run it. Raises redis-py's `RedisError`, or `OSError`."""
        rest = (len(keys), *keys, *arguments)
        until = asyncio.get_running_loop().time() + self._timeout
        try:
            reply = await self._ask(_packed("EVALSHA", self._sha, *rest), until)
            if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
                reply = await self._ask(_packed("EVAL", self._text, *rest), until)
        except (redis.exceptions.RedisError, OSError):
            self._waits = False
            raise
        self._waits = True
        if isinstance(reply, hiredis.ReplyError):
            raise redis.exceptions.ResponseError(str(reply))
        return reply

    async def close(self) -> None:
        """Let go of the connection."""
        await self._drop()
        await self._pool.aclose()

    async def _ask(self, command: bytes, until: float) -> Any:
        """Ask until there is a reply: a connection that breaks is replaced."""
        wait = _FIRST_WAIT
        while True:
            try:
                link = self._link
                if link is None or not link.open:
                    link = await self._connect()
                return await self._reply(link, command, until)
            except redis.exceptions.AuthenticationError:
                raise
            except (redis.exceptions.ConnectionError, OSError):
                if not self._waits or asyncio.get_running_loop().time() + wait >= until:
                    raise
            await asyncio.sleep(wait)
            wait *= 2

    async def _reply(self, link: Link, command: bytes, until: float) -> Any:
        loop = asyncio.get_running_loop()
        alarm = loop.call_at(until, link.close)
        try:
            return await link.ask(command)
        except asyncio.CancelledError:
            link.close()
            raise
        except redis.exceptions.ConnectionError as error:
            if loop.time() >= until:
                raise redis.exceptions.TimeoutError(f"no reply within {self._timeout:g} s") from error
            raise
        finally:
            alarm.cancel()

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


def _packed(*words: Argument) -> bytes:
    packed: bytes = hiredis.pack_command(cast("Any", words))  # its types know one word only
    return packed
