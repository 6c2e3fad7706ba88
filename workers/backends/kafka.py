"""A pair of topics, of another cluster or of this one: a question on one, its answer on the other, matched by a header."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from schemas import headers as h
from schemas.errors import ErrorClass
from workers.backends.extract import Extractor
from workers.backends.fill import Filling, dumps, envelope_of
from workers.backends.http_errors import failure
from workers.backends.instances import MAX_ANSWER, ids
from workers.core.deadlines import Deadline
from workers.core.errors import FatalError, MessageError, UnreachableError, UsageError
from workers.core.ports import Answer, Call, Publisher, Reader
from workers.core.records import Outgoing, Received
from workers.core.topology.model import KafkaTarget

_READ_SECONDS = 0.2
_FLUSH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class TopicPair:
    """Both ends of one conversation. The reader begins at the end of the topic of answers, and is not started yet."""

    publisher: Publisher
    reader: Reader


Open = Callable[[KafkaTarget], TopicPair]


class KafkaBackend:
    """A `kafka` target. See `core.ports.Backend`.

    Every partition of the answers is read, in no group: each worker sees all answers and takes its own. A question
    whose call was given up may be answered all the same; that answer is passed over.
    """

    def __init__(self, target: KafkaTarget, open_pair: Open) -> None:
        """Raises `UsageError` for settings that could never work."""
        self._target = target
        self._open_pair = open_pair
        self._name = f"{target.kafka.bootstrap.partition(',')[0]}/{target.requests}"
        self._body = Filling("body", target.body)
        self._extractor = Extractor(self._name, target.answer)
        self._session: _Session | None = None
        self._opening: asyncio.Task[_Session] | None = None
        self._closed = False

    @property
    def name(self) -> str:
        """See `Backend`."""
        return self._name

    async def call(self, call: Call) -> Answer:
        """See `Backend`."""
        record, number = self._record(call)
        sent = False
        try:
            async with asyncio.timeout(call.timeout):
                session = await self._opened()
                with session.waiting(number, self._target.concurrency) as reply:
                    await session.pair.publisher.deliver([record])
                    sent = True
                    value = await reply
        except TimeoutError as error:
            if sent:
                raise failure(ErrorClass.TIMEOUT, f"{self._name} did not answer in time") from error
            raise failure(ErrorClass.CONNECT, f"{self._name} did not take the message in time") from error
        except FatalError as error:
            self._session = None
            await session.close()
            raise failure(ErrorClass.CONNECT, f"{self._name} did not take the message") from error
        if value is None or len(value) > MAX_ANSWER:
            raise failure(ErrorClass.UPSTREAM_5XX, f"{self._name} sent an answer that is empty or too large")
        return self._extractor.parse(value)

    async def close(self) -> None:
        """See `Backend`. Calls under way fail as `connect`."""
        self._closed = True
        if self._opening is not None:  # not cancelled: a client that is in use can't be closed
            await asyncio.wait({self._opening})
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _record(self, call: Call) -> tuple[Outgoing, str]:
        target, request = self._target, call.request
        number = uuid.uuid4().hex
        headers = [(target.correlation_header, number), (h.CONTENT_TYPE, "application/json"), *ids(call)]
        if target.reply_topic_header is not None:
            headers.append((target.reply_topic_header, target.responses))
        key = request.payload.session_id or request.payload.user_id or request.message_id
        value = dumps(self._body.render(envelope_of(request)))
        written = tuple((name, h.to_bytes(text)) for name, text in headers)
        return Outgoing(target.requests, h.to_bytes(key), value, written), number

    async def _opened(self) -> "_Session":
        """The conversation, begun where there is none: once for all who wait for it."""
        if self._closed:
            raise failure(ErrorClass.CONNECT, f"{self._name} was let go while it was being called")
        if self._session is not None and self._session.alive:
            return self._session
        if self._opening is None:
            self._opening = asyncio.create_task(self._begin())
            self._opening.add_done_callback(self._began)
        return await asyncio.shield(self._opening)  # others wait for it too

    async def _begin(self) -> "_Session":
        before, self._session = self._session, None
        if before is not None:
            await before.close()
        try:
            pair = self._open_pair(self._target)
        except UsageError as error:
            raise failure(ErrorClass.CONNECT, f"{self._name} can't be set up: {error}") from error
        session = _Session(self._name, pair, self._target.correlation_header)
        try:
            await session.start()
        except (UnreachableError, UsageError) as error:
            await session.close()
            raise failure(
                ErrorClass.CONNECT, f"{self._name} can't be reached, or its topics are missing"
            ) from error
        self._session = session
        return session

    def _began(self, task: "asyncio.Task[_Session]") -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # told to whoever waited; nobody may be left


@dataclass(slots=True)
class _Waiting:
    """A place among those who wait for an answer, for as long as it is entered."""

    session: "_Session"
    number: str
    reply: "asyncio.Future[bytes | None]"

    def __enter__(self) -> "asyncio.Future[bytes | None]":
        self.session.replies[self.number] = self.reply
        return self.reply

    def __exit__(self, *_: object) -> None:
        del self.session.replies[self.number]
        if self.reply.done() and not self.reply.cancelled():
            self.reply.exception()  # told, or nobody waits any more


@dataclass(slots=True)
class _Session:
    """A pair of topics in use: answers are read as they come and given to who waits for them."""

    name: str
    pair: TopicPair
    correlation: str
    replies: "dict[str, asyncio.Future[bytes | None]]" = field(default_factory=dict)
    reading: "asyncio.Task[None] | None" = None
    closing: bool = False

    @property
    def alive(self) -> bool:
        """Whether answers are being read."""
        return self.reading is not None and not self.reading.done() and not self.closing

    async def start(self) -> None:
        """Find the end of the answers: what comes from now on is seen. Raises `UnreachableError`, `UsageError`."""
        await self.pair.reader.start()
        self.reading = asyncio.create_task(self._read())

    def waiting(self, number: str, most: int) -> _Waiting:
        """A place to wait for the answer `number`. Raises `MessageError` where `most` wait already."""
        if len(self.replies) >= most:
            raise failure(ErrorClass.OVERLOADED, f"{self.name} has {most} questions open already")
        return _Waiting(self, number, asyncio.get_running_loop().create_future())

    async def close(self) -> None:
        """Let go of both ends; who waits learns it."""
        self._fail(failure(ErrorClass.CONNECT, f"{self.name} was let go while it was being called"))
        self.closing = True
        if self.reading is not None:
            await asyncio.wait({self.reading})
        await self.pair.reader.close()
        await self.pair.publisher.close(Deadline.after(_FLUSH_SECONDS))

    async def _read(self) -> None:
        try:
            while not self.closing:
                for record in await self.pair.reader.read(_READ_SECONDS):
                    self._hand_out(record)
        except (UnreachableError, UsageError):
            self._fail(failure(ErrorClass.CONNECT, f"{self.name} broke off while its answers were read"))

    def _hand_out(self, record: Received) -> None:
        number = h.get(record.headers, self.correlation)
        reply = self.replies.get(number) if number is not None else None
        if reply is not None and not reply.done():
            reply.set_result(record.value)

    def _fail(self, error: MessageError) -> None:
        for reply in self.replies.values():
            if not reply.done():
                reply.set_exception(error)
