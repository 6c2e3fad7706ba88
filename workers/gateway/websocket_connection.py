"""One WebSocket: many requests at a time, each with a task of its own, and one reader and one writer for all."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from enum import IntEnum
from http import HTTPStatus
from typing import Any

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from schemas.errors import ErrorClass
from workers.core.deadlines import Deadline
from workers.gateway import websocket_frames as frames
from workers.gateway.auth import Identity
from workers.gateway.front import Parts
from workers.gateway.question import Question
from workers.gateway.refusals import RefusalError, invalid, malformed, throttled
from workers.gateway.relay import Pending, Reply
from workers.gateway.websocket_frames import Ask, Cancel, Frame, FrameError, Ping, Resume
from workers.gateway.websocket_outbox import Outbox, StalledError
from workers.gateway.websocket_sessions import Session, Sessions

log = structlog.get_logger()

_FIRST_LOOK, _LONGEST_LOOK = 0.1, 2.0  # seconds between looks for an answer that another connection asked for
_CLOSING = 1.0  # seconds that a client has to take our close
_GRACE = 2.0  # seconds in which the fleet says that a deadline has passed


class Close(IntEnum):
    """Why we close, in WebSocket's own codes."""

    AWAY = 1001  # it was idle for too long
    SLOW = 1008  # it takes nothing


class Connection:
    """A connection that was accepted."""

    def __init__(self, websocket: WebSocket, parts: Parts, identity: Identity, sessions: Sessions) -> None:
        self._websocket = websocket
        self._parts = parts
        self._relay = parts.relay
        self._limits = parts.settings.limits
        self._bounds = parts.settings.websocket
        self._identity = identity
        self._sessions = sessions
        self._session: Session = sessions.new(identity.tenant)
        self._outbox = Outbox(websocket.send_text, int(self._limits.stream_buffer), self._bounds.stall)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pending: dict[str, Pending] = {}

    async def run(self) -> None:
        """Serve until either side closes. Answers that were not delivered are found by whoever resumes."""
        writer = asyncio.ensure_future(self._outbox.run())
        reader = asyncio.ensure_future(self._read())
        try:
            await self._outbox.put(
                frames.write("welcome", session=self._session.token, idle=self._bounds.idle)
            )
            await asyncio.wait({writer, reader}, return_when=asyncio.FIRST_COMPLETED)
            await self._close(writer, reader)
        finally:
            await self._stop(writer, reader)

    async def _close(self, writer: "asyncio.Future[None]", reader: "asyncio.Future[Close | None]") -> None:
        """Say why, where it is we who end it."""
        code, why = None, ""
        if writer.done() and isinstance(writer.exception(), StalledError):
            code, why = Close.SLOW, "frames were not taken; resume later"
            log.warning("websocket_stalled", client=self._identity.client)
        elif reader.done() and reader.result() is Close.AWAY:
            code, why = Close.AWAY, "idle"
        if code is not None:
            with suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
                async with asyncio.timeout(_CLOSING):
                    await self._websocket.close(code, why)

    async def _stop(self, *futures: "asyncio.Future[Any]") -> None:
        left = list(self._pending.values())
        tasks = [*futures, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # So that every gateway knows that these are under way.
        await asyncio.gather(*(self._relay.leave(pending) for pending in left))

    # -- what comes in -----------------------------------------------------------------------------------------------

    async def _read(self) -> Close | None:
        """Take frames until the client goes (None), or is idle for too long."""
        while True:
            try:
                async with asyncio.timeout(self._bounds.idle):
                    message = await self._websocket.receive()
            except TimeoutError:
                if self._tasks:
                    continue
                return Close.AWAY
            if message["type"] == "websocket.disconnect":
                return None
            await self._take(message)

    async def _take(self, message: Any) -> None:
        try:
            await self._handle(frames.read(_text(message), self._limits))
        except FrameError as error:
            await self._outbox.put(frames.refused(error.request, error.refusal))

    async def _handle(self, frame: Frame) -> None:
        match frame:
            case Ask():
                self._check_room(frame.id)
                self._begin(frame.id, self._ask(frame))
            case Cancel():
                await self._cancel(frame)
            case Resume():
                await self._resume(frame)
            case Ping():
                await self._outbox.put(frames.write("pong", frame.id))

    def _check_room(self, name: str) -> None:
        if name in self._tasks:
            raise FrameError(invalid("id: in use by a request that is not answered yet"), name)
        if len(self._tasks) >= self._bounds.in_flight:
            raise FrameError(
                throttled(f"{len(self._tasks)} requests of this connection are under way", 1.0), name
            )

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._told(name, work))
        self._tasks[name] = task

        def over(_: object) -> None:
            if self._tasks.get(name) is task:
                del self._tasks[name]

        task.add_done_callback(over)

    async def _told(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Do the work for one request; what it fails of is told."""
        try:
            await work
        except RefusalError as refusal:
            await self._outbox.put(frames.refused(name, refusal))
        except Exception as error:  # noqa: BLE001 - one request must not end the others; its text may quote the prompt
            log.error("gateway_bug", error=type(error).__name__)  # noqa: TRY400 - as above
            bug = RefusalError(ErrorClass.INTERNAL, "the gateway failed on this request")
            await self._outbox.put(frames.refused(name, bug))

    async def _cancel(self, frame: Cancel) -> None:
        task = self._tasks.pop(frame.id, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._outbox.put(frames.write("cancelled", frame.id))

    async def _resume(self, frame: Resume) -> None:
        """Go on with a session: what it asked and the client has no answer to is delivered as it is there."""
        try:
            session = await self._sessions.find(self._identity.tenant, frame.session)
        except RefusalError as refusal:
            raise FrameError(refusal, None) from refusal
        for name, message_id in self._session.asked.items():
            session.add(name, message_id)
        self._session = session
        await self._sessions.keep(session)
        missing = {
            name: message_id
            for name, message_id in session.asked.items()
            if name not in frame.have and name not in self._tasks
        }
        await self._outbox.put(frames.write("resumed", session=session.token, pending=list(missing)))
        for name, message_id in missing.items():
            self._begin(name, self._fetch(name, message_id))

    # -- what goes out -----------------------------------------------------------------------------------------------

    async def _ask(self, ask: Ask) -> None:
        most = self._parts.settings.longest_wait
        wait = most if ask.timeout is None else min(ask.timeout, most)
        deadline = Deadline.after(wait, self._parts.clock)
        pending = await self._relay.submit(self._question(ask, deadline if ask.timeout is not None else None))
        try:
            self._pending[ask.id] = pending
            self._session.add(ask.id, pending.message_id)
            await self._sessions.keep(self._session)
            await self._outbox.put(frames.write("accepted", ask.id, message_id=pending.message_id))
            if ask.stream:
                async with asyncio.timeout(deadline.remaining() + _GRACE):
                    async for piece in pending.chunks():
                        await self._outbox.put(frames.chunk(ask.id, piece))
            reply = await pending.wait(deadline.remaining() + _GRACE)
        except TimeoutError:
            reply = None
        finally:
            pending.cancel()
            self._pending.pop(ask.id, None)
        await self._deliver(ask.id, reply, pending.message_id)

    def _question(self, ask: Ask, deadline: Deadline | None) -> Question:
        headers = self._websocket.headers
        return Question(
            ask.fields,
            self._identity.client,
            self._identity.tenant,
            deadline=deadline,
            stream=ask.stream,
            target=ask.target,
            traceparent=headers.get("traceparent"),
            tracestate=headers.get("tracestate"),
        )

    async def _fetch(self, name: str, message_id: str) -> None:
        """Deliver the answer to what another connection asked, whichever gateway it came to."""
        deadline = Deadline.after(self._parts.settings.longest_wait, self._parts.clock)
        pause = _FIRST_LOOK
        while True:
            state = await self._relay.look(self._identity.tenant, message_id)
            if state is not None and state.reply is not None:
                await self._deliver(name, state.reply, message_id)
                return
            if deadline.expired:
                await self._deliver(name, None, message_id)
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK)

    async def _deliver(self, name: str, reply: Reply | None, message_id: str) -> None:
        if reply is not None:
            await self._outbox.put(frames.outcome(name, reply))
            return
        raise RefusalError(
            ErrorClass.TIMEOUT,
            "no answer came in time; when it comes it is found under its id",
            status=HTTPStatus.GATEWAY_TIMEOUT,
            message_id=message_id,
        )


def _text(message: Any) -> bytes:
    text = message.get("text")
    if text is None:
        raise FrameError(malformed("frames are texts"), None)
    data: bytes = text.encode("utf-8", "replace")
    return data
