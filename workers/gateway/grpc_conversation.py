"""Many questions on one stream: each a task, its reply told when it is there, and what fails a reply as well."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

from schemas import relayfleet_pb2 as wire
from workers.gateway.auth import Identity
from workers.gateway.grpc_desk import Call, Desk, Wish, bug
from workers.gateway.grpc_outbox import Outbox
from workers.gateway.grpc_wire import refused
from workers.gateway.refusals import RefusalError, invalid, throttled

_IDENTIFY_EVERY = 1.0
"""Seconds: a stream may outlive its client's key."""
_LINGER = 0.005
"""Seconds that a reply waits for others: a message costs the gateway more than what it carries."""


class Conversation:
    """The questions of one stream. `alone`: each reply is a message, and who has too many under way is refused.

    Else replies go together, and who has too many is not listened to until there is room.
    """

    def __init__(self, desk: Desk, call: Call, *, alone: bool) -> None:
        settings = desk.settings
        self._desk = desk
        self._call = call
        self._alone = alone
        self._most = int(settings.websocket.in_flight if alone else settings.limits.in_flight_per_client)
        self._room = asyncio.Event()
        self._shown: tuple[Identity, float] | None = (
            None  # who asks, and when (monotonic) that was last looked at
        )
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        room = settings.limits.stream_buffer
        self._outbox = Outbox(self._one_by_one, room) if alone else Outbox(self._together, room, _LINGER)

    async def run(self, messages: AsyncIterator[Sequence[wire.ConverseRequest]]) -> None:
        """Until the client has said all, and has its replies. Raises `RefusalError` for who may not ask (any more)."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._outbox.run())
                await self._listen(messages)
                while self._tasks:
                    await asyncio.wait(self._tasks.values())
                self._outbox.close()
        except ExceptionGroup as failures:
            raise (failures.subgroup(RefusalError) or failures).exceptions[0] from None
        finally:
            for task in self._tasks.values():
                task.cancel()

    async def _listen(self, messages: AsyncIterator[Sequence[wire.ConverseRequest]]) -> None:
        await self._identify()
        async for requests in messages:
            for request in requests:
                await self._take(request)

    async def _identify(self) -> Identity:
        """Who asks, now. Raises `RefusalError` for who may not any more."""
        now = self._desk.clock.monotonic()
        if self._shown is None or now - self._shown[1] > _IDENTIFY_EVERY:
            self._shown = await self._desk.identify(self._call), now
        return self._shown[0]

    async def _take(self, request: wire.ConverseRequest) -> None:
        name = request.id
        under_way = self._tasks.get(name)
        action = request.WhichOneof("action")
        if action == "cancel":
            if under_way is not None:
                under_way.cancel()
        elif under_way is not None:
            await self._refuse(request, invalid(f"the id {name[:64]!r} is under way already"))
        elif not name or action is None:
            await self._refuse(request, invalid("a question needs an `id` and a `request`"))
        elif self._alone and len(self._tasks) >= self._most:
            # Told before the next one is read, so that who takes no replies is not listened to.
            full = f"{len(self._tasks)} questions of this stream are not answered yet"
            await self._refuse(request, throttled(full, 1.0))
        else:
            while len(self._tasks) >= self._most:
                self._room.clear()
                await self._room.wait()
            # After the wait for room: a message may hold more questions than its key lives.
            asking = self._ask(request, await self._identify())
            task = self._tasks[name] = self._loop.create_task(asking)
            task.add_done_callback(partial(self._over, name))

    def _over(self, name: str, _: "asyncio.Task[None]") -> None:
        del self._tasks[name]
        self._room.set()

    async def _ask(self, request: wire.ConverseRequest, identity: Identity) -> None:
        desk = self._desk
        try:
            timeout = request.timeout if request.HasField("timeout") else None
            wish = Wish(request.message_id, request.stream, timeout, request.target)
            question = desk.question(request.request, self._call, identity, wish)
            with await desk.relay.submit(question) as pending:
                if question.stream:
                    answer = await desk.pieces(pending, question, partial(self._piece, request.id))
                else:
                    answer = await desk.answer(pending, question)
            await self._outbox.put(wire.ConverseReply(id=request.id, response=answer))
        except RefusalError as refusal:
            await self._refuse(request, refusal)
        except Exception as error:  # noqa: BLE001 - one question must not take the stream with it
            await self._refuse(request, bug(self._call, error))

    async def _piece(self, name: str, chunk: wire.ResponseChunk) -> None:
        await self._outbox.put(wire.ConverseReply(id=name, chunk=chunk))

    async def _refuse(self, request: wire.ConverseRequest, refusal: RefusalError) -> None:
        reply = wire.ConverseReply(id=request.id, response=refused(refusal, request.message_id))
        await self._outbox.put(reply)

    async def _one_by_one(self, replies: Sequence[wire.ConverseReply]) -> None:
        for reply in replies:
            await self._call.context.write(reply)

    async def _together(self, replies: Sequence[wire.ConverseReply]) -> None:
        await self._call.context.write(wire.ConverseReplies(replies=replies))
