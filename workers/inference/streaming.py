"""Pieces of answers on their way to `model_chunks`, while the calls that give them are under way."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from schemas import headers as h
from schemas.chunk import ChunkFields
from schemas.codec import encode_chunk
from workers.core.clock import Clock
from workers.core.metrics import CHUNKS, FIRST_TOKEN, Metrics
from workers.core.ports import Answer, Piece, Publisher, Sink
from workers.core.records import Headers, Outgoing, echoed
from workers.core.topology.names import Names
from workers.inference.message import Message

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ChunkPolicy:
    """`linger`: seconds between two sendings of one answer; `most_text`: characters of one chunk."""

    linger: float = 0.01
    most_text: int = 65_536


class Chunks:
    """Publishes the pieces of one target's answers."""

    def __init__(
        self, target: str, names: Names, publisher: Publisher, metrics: Metrics, clock: Clock
    ) -> None:
        self.publisher = publisher
        self.clock = clock
        self.policy = ChunkPolicy()
        self.topic = names.chunks
        self.published = metrics.counter(CHUNKS, target)
        self.waiting = 0  # answers that are whole and whose pieces are not all in Kafka
        self._first_token = metrics.histogram(FIRST_TOKEN, target)
        self._target = (h.TARGET, target.encode())

    async def streamed(self, message: Message, attempt: Callable[[Sink], Awaitable[Answer]]) -> Answer:
        """Make an attempt and publish the pieces that it gives; done when Kafka has them all.

        A failed attempt sends nothing more; its pieces are replaced by those of the next. Pieces that can't be
        published cost no answer: the response brings all of it.
        """
        stream = ChunkStream(self, message)
        try:
            answer = await attempt(stream.add)
            await self._end(stream)
        except BaseException:
            stream.abandon()
            raise
        if message.first_token is not None:
            self._first_token.observe(message.first_token)
        return answer

    async def _end(self, stream: "ChunkStream") -> None:
        self.waiting += 1
        try:
            await stream.finish()
        finally:
            self.waiting -= 1

    def headers(self, message: Message) -> Headers:
        """Of every chunk of this message."""
        ours: Headers = ((h.MESSAGE_ID, h.to_bytes(message.message_id)), self._target)
        if message.request is not None:
            ours = (*ours, (h.SOURCE, h.to_bytes(message.request.source)))
        return (*ours, *h.carried(message.record.headers))


class ChunkStream:
    """One attempt's pieces. One sending is under way at a time: what comes meanwhile goes together with the next.

    So a slow broker makes chunks longer, never a queue of them; what is held is at most the answer itself.
    """

    def __init__(self, chunks: Chunks, message: Message) -> None:
        self._chunks = chunks
        self._message = message
        self._attempt = message.state.attempts + message.state.deferrals + 1
        self._run = secrets.token_hex(4)
        self._index = 0
        self._headers: Headers = ()  # from the first record on
        self._partition = h.chunks_partition(message.record.headers)
        self._pieces: list[Piece] = []
        self._began = chunks.clock.monotonic()
        self._sending: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._over = False
        message.first_token = None

    def add(self, piece: Piece) -> None:
        """See `core.ports.Sink`. The first piece is sent at once."""
        if self._over:
            return
        if self._message.first_token is None:
            self._message.first_token = self._chunks.clock.monotonic() - self._began
        self._pieces.append(piece)
        if self._sending is None and self._timer is None:
            self._send()

    def abandon(self) -> None:
        """Send nothing more."""
        self._over = True
        self._pieces.clear()
        self._stop_timer()

    async def finish(self) -> None:
        """Send what is left and mark its end; wait until everything is delivered. Nothing was added: nothing is sent."""
        await self._settled()
        if not self._over and self._message.first_token is not None:
            self._send(final=True)
            self._over = True
            await self._settled()

    async def _settled(self) -> None:
        if self._sending is not None:
            await asyncio.wait([self._sending])
        self._stop_timer()

    def _send(self, *, final: bool = False) -> None:
        self._timer = None
        pieces, self._pieces = self._pieces, []
        joined = _joined(pieces, self._chunks.policy.most_text)
        if final and not joined:
            joined = [Piece()]
        if joined:
            records = [self._record(piece, final=final and piece is joined[-1]) for piece in joined]
            self._sending = asyncio.ensure_future(self._chunks.publisher.deliver(records))
            self._sending.add_done_callback(self._sent)
            self._chunks.published.inc(len(records))

    def _sent(self, sending: "asyncio.Future[None]") -> None:
        self._sending = None
        error = None if sending.cancelled() else sending.exception()
        if error is not None:
            self.abandon()
            # A chunk that is too large; or a publisher that has failed for good, which the response will meet too.
            log.warning("chunks_not_published", position=self._message.record.position, why=str(error))
        elif not self._over:
            loop = sending.get_loop()
            self._timer = loop.call_later(self._chunks.policy.linger, self._send)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _record(self, piece: Piece, *, final: bool) -> Outgoing:
        message = self._message
        fields: ChunkFields = {
            "message_id": message.message_id,
            "attempt": self._attempt,
            "run": self._run,
            "index": self._index,
            "text": piece.text,
            "finish_reason": piece.finish_reason,
            "model": piece.model,
            "timestamp": round(self._chunks.clock.wall(), 3),
        }
        if piece.delta is not None:
            fields["delta"] = dict(piece.delta)
        if piece.choice:
            fields["choice"] = piece.choice
        if final:
            fields["final"] = True
        self._index += 1
        encoded = encode_chunk(fields, message.wire)
        if not self._headers:
            self._headers = h.with_headers(self._chunks.headers(message), encoded.headers)
        return Outgoing(
            self._chunks.topic, echoed(message.record.key), encoded.value, self._headers, self._partition
        )


def _joined(pieces: list[Piece], most: int) -> list[Piece]:
    """The same pieces with texts that follow each other put together, none longer than `most`."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if last is None or not _continues(last, piece) or len(last.text) + len(piece.text) > most:
            joined += _cut(piece, most)
        else:
            joined[-1] = last._replace(text=last.text + piece.text, finish_reason=piece.finish_reason)
    return joined


def _continues(last: Piece, piece: Piece) -> bool:
    beside = last.delta is not None or piece.delta is not None or last.finish_reason is not None
    return not beside and piece.choice == last.choice and piece.model is None


def _cut(piece: Piece, most: int) -> list[Piece]:
    if len(piece.text) <= most:
        return [piece]
    starts = range(0, len(piece.text), most)
    cut = [Piece(piece.text[start : start + most], choice=piece.choice) for start in starts]
    cut[0] = cut[0]._replace(delta=piece.delta, model=piece.model)
    cut[-1] = cut[-1]._replace(finish_reason=piece.finish_reason)
    return cut
