"""An answer as server-sent events: `chunk` for each piece, then `response` with the whole of it.

Instead of `response` there may be `error` (problem details), or `pending` where the wait was over: the answer is found
under its id then.
"""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

import orjson
from starlette.responses import StreamingResponse

from workers.gateway.problems import problem_of, problem_of_reply
from workers.gateway.refusals import RefusalError
from workers.gateway.relay import Pending, Relay

EVENT_STREAM = "text/event-stream"
_SILENCE = 15.0  # seconds after which a comment keeps the connection open
_COMMENT = b": waiting\n\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """The events of one request."""

    def __init__(self, relay: Relay, pending: Pending, wait: float, request_id: str) -> None:
        super().__init__(
            _events(relay, pending, wait, request_id), media_type=EVENT_STREAM, headers=dict(_HEADERS)
        )


async def _events(relay: Relay, pending: Pending, wait: float, request_id: str) -> AsyncIterator[bytes]:
    with pending:
        loop = asyncio.get_running_loop()
        ends = loop.time() + wait
        pieces = pending.chunks()
        coming = asyncio.ensure_future(anext(pieces, None))
        try:
            while True:
                left = ends - loop.time()
                done, _ = await asyncio.wait({coming}, timeout=max(0.0, min(_SILENCE, left)))
                if not done:
                    if ends - loop.time() > 0:
                        yield _COMMENT
                        continue
                    await relay.leave(pending)
                    yield _pending(pending.message_id)
                    return
                chunk = coming.result()
                if chunk is None:
                    break
                yield _event("chunk", orjson.dumps(chunk.model_dump_wire()))
                coming = asyncio.ensure_future(anext(pieces, None))
        except RefusalError as refusal:
            yield _event("error", bytes(problem_of(refusal, request_id).body))
            return
        finally:
            coming.cancel()
        reply = await pending.wait(0)
        if reply is None:
            await relay.leave(pending)
            yield _pending(pending.message_id)
        elif orjson.loads(reply.value).get("status") == "ok":
            yield _event("response", reply.value)
        else:
            yield _event("error", bytes(problem_of_reply(reply, request_id).body))


def _pending(message_id: str) -> bytes:
    where = f"/api/responses/{quote(message_id, safe='')}"
    return _event("pending", orjson.dumps({"message_id": message_id, "status": "pending", "location": where}))


def _event(name: str, data: bytes) -> bytes:
    """JSON of ours has no line breaks; an envelope that came with some gets a field for each line."""
    lines = b"\ndata: ".join(data.splitlines())
    return b"event: %b\ndata: %b\n\n" % (name.encode(), lines)
