"""The calls of the MessageRouter (schemas/relayfleet.proto)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from schemas import relayfleet_pb2 as wire
from schemas.errors import ErrorClass
from schemas.relayfleet_pb2_grpc import MessageRouterServicer
from schemas.response import Response
from workers.gateway.auth import Identity
from workers.gateway.grpc_desk import Call, Context, Desk, FailedError, bug
from workers.gateway.grpc_wire import message_of, refused
from workers.gateway.refusals import RefusalError, invalid, throttled


class Calls(MessageRouterServicer):
    """The service. A call's own deadline is the message's."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def ForwardRequest(  # noqa: N802 - the interface's own name
        self, request: wire.RequestMessage, context: Context
    ) -> wire.ResponseMessage:
        """One question, one answer."""
        desk = self._desk
        async with desk.taking(context) as call:
            identity = await desk.identify(call)
            question = desk.question(request, call, identity, named=call.named, stream=False)
            with await desk.relay.submit(question) as pending:
                return _answered(await desk.answer(pending, question))
        raise AssertionError("a call that failed has been ended")

    async def ForwardStream(  # noqa: N802 - the interface's own name
        self, request: wire.RequestMessage, context: Context
    ) -> None:
        """One question, the answer in pieces; the last one holds all of it."""
        desk = self._desk
        async with desk.taking(context) as call:
            identity = await desk.identify(call)
            question = desk.question(request, call, identity, named=call.named, stream=True)
            with await desk.relay.submit(question) as pending:
                whole = _answered(await desk.pieces(pending, question, context.write))
                await context.write(wire.ResponseChunk(message_id=whole.message_id, response=whole))

    async def Converse(  # noqa: N802 - the interface's own name
        self, requests: AsyncIterator[wire.ConverseRequest], context: Context
    ) -> None:
        """Many questions on one stream. What fails is told as a response, and the stream goes on."""
        desk = self._desk
        async with desk.taking(context) as call:
            await _Conversation(desk, call, await desk.identify(call)).run(requests)


def _answered(response: Response) -> wire.ResponseMessage:
    """The response as a message. Raises `FailedError` where it is none."""
    message = message_of(response)
    if response.status == "ok":
        return message
    error_class = response.payload.error.code if response.payload.error is not None else ErrorClass.INTERNAL
    reason = message.payload.error.reason or "the fleet answered with an error and no reason"
    raise FailedError(error_class, reason, response.message_id)


class _Conversation:
    """The questions of one stream: each a task, their replies written one at a time."""

    def __init__(self, desk: Desk, call: Call, identity: Identity) -> None:
        self._desk = desk
        self._call = call
        self._identity = identity
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._writing = asyncio.Lock()

    async def run(self, requests: AsyncIterator[wire.ConverseRequest]) -> None:
        """Until the client has said all, and has its answers."""
        try:
            async for request in requests:
                await self._take(request)
            while self._tasks:
                await asyncio.wait(self._tasks.values())
        finally:
            for task in self._tasks.values():
                task.cancel()

    async def _take(self, request: wire.ConverseRequest) -> None:
        under_way = self._tasks.get(request.id)
        if request.HasField("cancel"):
            if under_way is not None:
                under_way.cancel()
        elif under_way is not None:
            await self._refuse(request, invalid(f"the id {request.id[:64]!r} is under way already"))
        elif not request.id or not request.HasField("request"):
            await self._refuse(request, invalid("a question needs an `id` and a `request`"))
        elif len(self._tasks) >= self._desk.most_of_a_stream:
            # Told before the next one is read, so that who takes no replies is not listened to.
            full = f"{len(self._tasks)} questions of this stream are not answered yet"
            await self._refuse(request, throttled(full, 1.0))
        else:
            task = self._tasks[request.id] = asyncio.create_task(self._ask(request))
            task.add_done_callback(lambda _: self._tasks.pop(request.id, None))

    async def _ask(self, request: wire.ConverseRequest) -> None:
        try:
            await self._reply(request, response=await self._answer(request))
        except RefusalError as refusal:
            await self._refuse(request, refusal)
        except Exception as error:  # noqa: BLE001 - one question must not take the stream with it
            await self._refuse(request, bug(self._call, error))

    async def _answer(self, request: wire.ConverseRequest) -> wire.ResponseMessage:
        desk = self._desk
        question = desk.question(
            request.request, self._call, self._identity, named=request.message_id, stream=request.stream
        )
        with await desk.relay.submit(question) as pending:
            if not request.stream:
                return message_of(await desk.answer(pending, question))
            return message_of(
                await desk.pieces(pending, question, lambda piece: self._reply(request, chunk=piece))
            )

    async def _refuse(self, request: wire.ConverseRequest, refusal: RefusalError) -> None:
        await self._reply(request, response=refused(refusal, request.message_id))

    async def _reply(self, request: wire.ConverseRequest, **event: Any) -> None:
        async with self._writing:
            await self._call.context.write(wire.ConverseReply(id=request.id, **event))
