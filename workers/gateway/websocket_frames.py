"""The frames of a WebSocket: JSON objects, each with a `type`.

A client sends `ask`, `cancel`, `resume` and `ping`. It gets `welcome` first, then for each `ask` an `accepted` once the
broker has the request, `chunk`s where it asked for a stream, and one `answer` or `error`; `cancelled`, `resumed` and
`pong` confirm the others. All that belongs to a request bears the `id` that the client gave it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.chunk import Chunk
from workers.core.redact import redact
from workers.core.topology.gateway import Limits
from workers.gateway.http_body import parse
from workers.gateway.refusals import STATUS, RefusalError, invalid, malformed
from workers.gateway.relay import Reply

_ENVELOPE = ("message_id", "source", "timestamp", "tenant")
_OURS = frozenset({"type", "id", "stream", "target", "timeout"})
_LONGEST_ID = 128
_MOST_IDS = 1000


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. `fields` are those of the envelope; `timeout` in seconds."""

    id: str
    fields: Mapping[str, Any]
    stream: bool = False
    target: str | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """The answer to this request is not wanted any more."""

    id: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on with an earlier connection's session; the client has the answers to the requests in `have`."""

    session: str
    have: frozenset[str]


@dataclass(frozen=True, slots=True)
class Ping:
    """Still there."""

    id: str | None


Frame = Ask | Cancel | Resume | Ping


class FrameError(Exception):
    """A frame that is none: why, and which request it seems to speak of."""

    def __init__(self, refusal: RefusalError, request: str | None) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal
        self.request = request


def read(data: bytes, limits: Limits) -> Frame:
    """A client's frame. Raises `FrameError`."""
    name: str | None = None
    try:
        body = parse(data, limits.depth)
        name = _id(body)
        match body.get("type"):
            case "ask":
                return _ask(body, _needed(name))
            case "cancel":
                return Cancel(_needed(name))
            case "resume":
                return _resume(body)
            case "ping":
                return Ping(name)
            case _:
                raise malformed("type: one of ask, cancel, resume, ping")
    except RefusalError as refusal:
        raise FrameError(refusal, name) from refusal


def _id(body: Mapping[str, Any]) -> str | None:
    name = body.get("id")
    if name is None:
        return None
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_ID:
        raise malformed(f"id: a text of at most {_LONGEST_ID} characters")
    return name


def _needed(name: str | None) -> str:
    if name is None:
        raise malformed("id: needed, so that what comes back can be told apart")
    return name


def _ask(body: dict[str, Any], name: str) -> Ask:
    stream, target, timeout = body.get("stream", False), body.get("target"), body.get("timeout")
    if not isinstance(stream, bool):
        raise invalid("stream: true or false")
    if not isinstance(target, str | None):
        raise invalid("target: a text")
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout <= 0
    ):
        raise invalid("timeout: seconds")
    fields = {key: value for key, value in body.items() if key not in _OURS}
    if "payload" not in fields:
        payload = {key: value for key, value in fields.items() if key not in _ENVELOPE}
        fields = {key: value for key, value in fields.items() if key in _ENVELOPE} | {"payload": payload}
    return Ask(name, fields, stream, target, timeout)


def _resume(body: dict[str, Any]) -> Resume:
    session, have = body.get("session"), body.get("have", [])
    if not isinstance(session, str):
        raise malformed("session: the one that an earlier `welcome` named")
    if not isinstance(have, list) or len(have) > _MOST_IDS or not all(isinstance(name, str) for name in have):
        raise malformed(f"have: a list of at most {_MOST_IDS} ids")
    return Resume(session, frozenset(have))


def write(kind: str, name: str | None = None, **fields: Any) -> bytes:
    """A frame of ours; fields that are None are left out."""
    body = {"type": kind, "id": name, **fields}
    return orjson.dumps({key: value for key, value in body.items() if value is not None})


def chunk(name: str, piece: Chunk) -> bytes:
    """A piece of an answer."""
    return write("chunk", name, **piece.model_dump_wire())


def outcome(name: str, reply: Reply) -> bytes:
    """An answer, or what became of the request instead."""
    head = write("answer", name)
    response = reply.response()
    if response.status != "ok":
        error = response.payload.error
        told = {
            "code": error.code if error is not None else "internal",
            "status": STATUS[error.code].value if error is not None else 502,
            "detail": redact(error.reason) if error is not None else "the fleet gave no reason",
            "retryable": error.retryable if error is not None else None,
        }
        head = write("error", name, message_id=response.message_id, error=told)
    return head[:-1] + b',"response":' + reply.value + b"}"


def refused(name: str | None, refusal: RefusalError) -> bytes:
    """What the gateway declines."""
    told: dict[str, Any] = {
        "code": refusal.error_class.value,
        "status": refusal.status.value,
        "detail": refusal.detail,
    }
    if refusal.retry_after is not None:
        told["retry_after"] = refusal.retry_after
    return write("error", name, message_id=refusal.message_id, error=told)
