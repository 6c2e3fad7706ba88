"""A TCP proxy on loopback that can cut, delay and silence what passes through it."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self, TypeVar

T = TypeVar("T")

HOST = "127.0.0.1"
_CHUNK = 65_536  # bytes
_QUEUED = 256  # chunks a direction, while delayed
_ANSWER_WITHIN = 10.0


class TcpProxy:
    """Forwards `port` to `target` on this machine, from a thread of its own: the test may block.

    Use as a context manager; every method may be called from any thread and returns when it took effect.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._delay = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def cut(self) -> None:
        """Reset every connection and refuse new ones, until `heal`."""
        self._run(self._close())

    def blackhole(self) -> None:
        """Accept everything and pass nothing on, until `heal`; then what was held back arrives."""
        self._run(self._set_flowing(False))

    def delay(self, seconds: float) -> None:
        """Let every byte arrive `seconds` later, in each direction; bandwidth stays."""
        self._delay = seconds

    def heal(self) -> None:
        """Forward again as if nothing had been."""
        self._delay = 0.0
        self._run(self._set_flowing(True))
        self._run(self._listen())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER_WITHIN)

    async def _set_flowing(self, flowing: bool) -> None:
        if flowing:
            self._flowing.set()
        else:
            self._flowing.clear()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, HOST, self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with suppress(OSError):
                await self._connect(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, self._target)
        self._writers.add(far_writer)
        pumps = {
            asyncio.create_task(self._pump(reader, far_writer)),
            asyncio.create_task(self._pump(far_reader, writer)),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers.discard(far_writer)
            far_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED)
        giver = asyncio.create_task(self._give(held, writer))
        try:
            while data := await reader.read(_CHUNK):
                await held.put((self._loop.time() + self._delay, data))
            await held.put((0.0, b""))
            await giver
        finally:
            giver.cancel()
            await asyncio.gather(giver, return_exceptions=True)

    async def _give(self, held: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
        while True:
            due, data = await held.get()
            if not data:
                return
            await asyncio.sleep(due - self._loop.time())
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
