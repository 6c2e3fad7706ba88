"""The calls of the MessageRouter (schemas/relayfleet.proto)."""

from collections.abc import AsyncIterator, Sequence

from schemas import relayfleet_pb2 as wire
from schemas.errors import ErrorClass
from schemas.relayfleet_pb2_grpc import MessageRouterServicer
from workers.gateway.grpc_conversation import Conversation
from workers.gateway.grpc_desk import Context, Desk, FailedError, Wish


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
            question = desk.question(request, call, identity, Wish(call.named))
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
            question = desk.question(request, call, identity, Wish(call.named, stream=True))
            with await desk.relay.submit(question) as pending:
                whole = _answered(await desk.pieces(pending, question, context.write))
                await context.write(wire.ResponseChunk(message_id=whole.message_id, response=whole))

    async def Converse(  # noqa: N802 - the interface's own name
        self, requests: AsyncIterator[wire.ConverseRequest], context: Context
    ) -> None:
        """Many questions on one stream. What fails is told as a response, and the stream goes on."""
        async with self._desk.taking(context) as call:
            await Conversation(self._desk, call, alone=True).run(_each(requests))

    async def ConverseMany(  # noqa: N802 - the interface's own name
        self, requests: AsyncIterator[wire.ConverseRequests], context: Context
    ) -> None:
        """The same with many questions or replies in a message."""
        async with self._desk.taking(context) as call:
            await Conversation(self._desk, call, alone=False).run(_many(requests))


async def _each(
    messages: AsyncIterator[wire.ConverseRequest],
) -> AsyncIterator[Sequence[wire.ConverseRequest]]:
    async for message in messages:
        yield (message,)


async def _many(
    messages: AsyncIterator[wire.ConverseRequests],
) -> AsyncIterator[Sequence[wire.ConverseRequest]]:
    async for message in messages:
        yield message.requests


def _answered(message: wire.ResponseMessage) -> wire.ResponseMessage:
    """The response itself. Raises `FailedError` where it is an error."""
    if message.status == "ok":
        return message
    error = message.payload.error
    reason = error.reason or "the fleet answered with an error and no reason"
    raise FailedError(ErrorClass(error.code or ErrorClass.INTERNAL), reason, message.message_id)
