"""What the gRPC calls have in common: who asks, until when, the question, its answer, and the status of a failure."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast
from urllib.parse import quote, unquote

import grpc
import structlog
from grpc import aio

from schemas import relayfleet_pb2 as wire
from schemas.errors import DecodeError, ErrorClass
from workers.core import metrics as m
from workers.core.deadlines import Deadline
from workers.gateway.app import request_id_of
from workers.gateway.auth import Credentials, Identity
from workers.gateway.front import Parts
from workers.gateway.grpc_wire import (
    ERROR_CLASS,
    MESSAGE_ID,
    RETRY_AFTER,
    chunk_of,
    code_of,
    fields_of,
    message_of,
)
from workers.gateway.question import Question
from workers.gateway.refusals import CODES, RefusalError, unavailable
from workers.gateway.relay import Pending
from workers.gateway.waiting import Alarm

log = structlog.get_logger()

PROTOCOL = "grpc"
REQUEST_ID = "x-request-id"
_GRACE = 2.0  # seconds in which the fleet says that the deadline has passed
_SOON = 1.0
_FIRST = 0.5

Context = aio.ServicerContext[Any, Any]


class FailedError(Exception):
    """The outcome of a message is a failure. Its text is for the client."""

    def __init__(self, error_class: ErrorClass, reason: str, message_id: str) -> None:
        super().__init__(reason)
        self.error_class = error_class
        self.message_id = message_id


class Wish(NamedTuple):
    """How a question is to be answered: under which id, in pieces, within how many seconds, by whom."""

    named: str
    stream: bool = False
    timeout: float | None = None
    target: str = ""


class Call:
    """One call, as the client made it."""

    def __init__(self, context: Context) -> None:
        self.context = context
        given: Any = context.invocation_metadata() or ()
        self.metadata = {name: value for name, value in given if isinstance(value, str)}
        self.request_id = request_id_of(self.metadata.get(REQUEST_ID))
        self.peer = _host(context.peer())
        self.source = self.metadata.get("x-relay-source")
        self.target = self.metadata.get("x-relay-target")
        self.trace = [self.metadata.get(name) for name in ("traceparent", "tracestate", "cache-control")]

    @property
    def named(self) -> str:
        """The message's id, where the client chose one."""
        return unquote(self.metadata.get("idempotency-key", ""))


class Desk:
    """Takes calls for the relay."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.relay = parts.relay
        self.settings = parts.settings
        self.clock = parts.clock
        self._first = Alarm(_FIRST)
        self._open = 0
        self._seconds = parts.metrics.histogram(m.GATEWAY_SECONDS, PROTOCOL)
        self._ok = parts.metrics.counter(m.GATEWAY_RESPONSES, PROTOCOL, grpc.StatusCode.OK.name)

    @asynccontextmanager
    async def taking(self, context: Context) -> AsyncIterator[Call]:
        """Measure a call, and end it with the status of what goes wrong within."""
        call, began = Call(context), self.clock.monotonic()
        told = ((REQUEST_ID, call.request_id),)
        place = 0
        try:
            place = self._enter()
            if REQUEST_ID in call.metadata:
                # A message of its own, which costs a tenth of a call: for those who look for it.
                await context.send_initial_metadata(told)
            context.set_trailing_metadata(told)
            yield call
            self._ok.inc()
        except RefusalError as refusal:
            await self._refuse(call, refusal)
        except FailedError as failed:
            code, named = grpc.StatusCode[CODES[failed.error_class]], {MESSAGE_ID: quote(failed.message_id)}
            await self._end(call, code, str(failed), failed.error_class, named)
        except aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the client is told, whatever it is
            await self._refuse(call, bug(call, error))
        finally:
            self._open -= place
            self._seconds.observe(self.clock.monotonic() - began)

    def _enter(self) -> int:
        """The places that a call takes. Raises `RefusalError` where there is none."""
        if self._open >= self.settings.limits.connections:
            raise RefusalError(ErrorClass.OVERLOADED, "too many calls are open", retry_after=_SOON)
        self._open += 1
        return 1

    async def identify(self, call: Call) -> Identity:
        """Who calls. Raises `RefusalError`."""
        if not self._parts.authenticator.required:
            return Identity(None, call.peer)
        names = call.context.auth_context().get("x509_common_name") or ()
        shown = Credentials(
            peer=call.peer,
            authorization=call.metadata.get("authorization"),
            api_key=call.metadata.get("x-api-key"),
            certificate=next((name.decode("utf-8", "replace") for name in names), None),
        )
        return await self._parts.authenticator.identify(shown)

    def question(self, request: wire.RequestMessage, call: Call, identity: Identity, wish: Wish) -> Question:
        """What is asked, from now until the call's deadline; without one, for the longest wait of the topology."""
        seconds: float = self.settings.longest_wait
        for limit in (cast("float | None", call.context.time_remaining()), wish.timeout):
            if limit is not None and limit < seconds:
                seconds = max(0.0, limit)
        return Question(
            fields_of(request, wish.named, call.source),
            identity.client,
            identity.tenant,
            Deadline(self.clock.monotonic() + seconds, self.clock),
            wish.stream,
            wish.target or call.target,
            *call.trace,
        )

    async def answer(self, pending: Pending, question: Question) -> wire.ResponseMessage:
        """The response. Raises `RefusalError` where none comes in time."""
        # Most answers come before it is worth a timer of their own.
        reply = await pending.wait(self._first) or await pending.wait(_left(question) + _GRACE)
        if reply is not None:
            try:
                return message_of(reply.value)
            except DecodeError as error:
                raise RefusalError(ErrorClass.INTERNAL, "the answer can't be read") from error
        await self.relay.leave(pending)
        if _left(question) > 0:
            raise unavailable(
                "the gateway is stopping; ask again under the same id", _SOON, pending.message_id
            )
        detail = "no answer within the deadline; it is found under its id when it comes"
        raise RefusalError(ErrorClass.TIMEOUT, detail, message_id=pending.message_id)

    async def pieces(
        self, pending: Pending, question: Question, write: Callable[[wire.ResponseChunk], Awaitable[None]]
    ) -> wire.ResponseMessage:
        """Write the pieces as they come; then the response. Raises `RefusalError`, also for a reader too slow."""
        try:
            async with asyncio.timeout(_left(question) + _GRACE):
                async for chunk in pending.chunks():
                    await write(chunk_of(chunk))
        except TimeoutError as error:
            detail = "the answer took longer than the deadline; it is found under its id when it comes"
            raise RefusalError(ErrorClass.TIMEOUT, detail, message_id=pending.message_id) from error
        return await self.answer(pending, question)

    async def _refuse(self, call: Call, refusal: RefusalError) -> None:
        more = {MESSAGE_ID: quote(refusal.message_id)} if refusal.message_id is not None else {}
        if refusal.retry_after is not None:
            more[RETRY_AFTER] = str(max(1, round(refusal.retry_after)))
        await self._end(call, code_of(refusal), refusal.detail, refusal.error_class, more)

    async def _end(
        self, call: Call, code: grpc.StatusCode, detail: str, error_class: ErrorClass, more: dict[str, str]
    ) -> None:
        self._parts.metrics.counter(m.GATEWAY_RESPONSES, PROTOCOL, code.name).inc()
        trailing = {ERROR_CLASS: error_class.value, REQUEST_ID: call.request_id, **more}
        await call.context.abort(code, detail, tuple(trailing.items()))


def bug(call: Call, error: Exception) -> RefusalError:
    """A fault of ours, logged and told by its type alone: its text may quote the prompt."""
    log.error("gateway_bug", request_id=call.request_id, error=type(error).__name__)
    return RefusalError(ErrorClass.INTERNAL, "the gateway failed on this request")


def _left(question: Question) -> float:
    return question.deadline.remaining() if question.deadline is not None else 0.0


def _host(peer: str) -> str:
    """The host of `ipv4:127.0.0.1:5000`, `ipv6:%5B::1%5D:5000`, `unix:/path`."""
    kind, _, place = unquote(peer).partition(":")
    return place.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else "local"
