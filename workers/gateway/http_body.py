"""Reading a request's body: counted while it comes, parsed within bounds."""

import asyncio
from http import HTTPStatus
from typing import Any

import orjson

from schemas.errors import ErrorClass
from workers.core.topology.gateway import Limits
from workers.gateway.front import header
from workers.gateway.http_exchange import Incoming
from workers.gateway.refusals import RefusalError, malformed, too_large

CLIENT_GONE = 499
"""The status of an answer that nobody waited for: for the metrics, as nobody reads it."""

_TYPES = frozenset({"application/json"})


async def read_json(incoming: Incoming, limits: Limits, patience: float) -> dict[str, Any]:
    """The body as an object. Raises `RefusalError`; `patience` is how many seconds it may take to come."""
    kind = (header(incoming.scope, b"content-type") or "").partition(";")[0].strip().lower()
    if kind not in _TYPES:
        raise _unsupported(kind)
    return parse(await read(incoming, limits.body, patience), limits.depth)


async def read(incoming: Incoming, most: int, patience: float) -> bytes:
    """The body's bytes. What its length says is believed only where it is too much."""
    declared = header(incoming.scope, b"content-length") or ""
    if declared.isdigit() and int(declared[:20]) > most:
        raise _too_large(most)
    whole = incoming.whole()
    if whole is not None:
        if len(whole) > most:
            raise _too_large(most)
        return whole
    try:
        async with asyncio.timeout(patience):
            return await _receive(incoming, most)
    except TimeoutError as error:
        raise malformed("the body did not come in time") from error


async def _receive(incoming: Incoming, most: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await incoming.receive()
        if message["type"] == "http.disconnect":
            raise malformed("the body ended early")
        piece = message.get("body", b"")
        size += len(piece)
        if size > most:
            raise _too_large(most)
        pieces.append(piece)
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def gone(incoming: Incoming) -> None:
    """Wait until the client has gone. The body must have been read."""
    while (await incoming.receive())["type"] != "http.disconnect":
        pass


def parse(body: bytes, depth: int) -> dict[str, Any]:
    """A JSON object. Raises `RefusalError`."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise malformed(f"the body is not JSON: {_without_text(error)}") from error
    if not isinstance(parsed, dict):
        raise malformed("the body must be a JSON object")
    if body.count(b"[") + body.count(b"{") > depth and _deeper(parsed, depth):
        raise malformed(f"the body is nested deeper than {depth} levels")
    return parsed


def _deeper(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _without_text(error: orjson.JSONDecodeError) -> str:
    """Where it went wrong, and not what stands there."""
    return f"{error.msg.partition(':')[0]} (line {error.lineno}, column {error.colno})"


def _too_large(most: int) -> RefusalError:
    return too_large(f"the body has more than {most} bytes")


def _unsupported(kind: str) -> RefusalError:
    said = f"{kind[:100]!r}" if kind else "nothing"
    detail = f"send `Content-Type: application/json`; the request says {said}"
    return RefusalError(ErrorClass.SCHEMA, detail, status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
