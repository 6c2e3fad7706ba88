"""Is a part ready? Each probe asks the part itself, over the loopback interface."""

import asyncio
import http.client
import json
from collections.abc import Awaitable, Callable

Probe = Callable[[], Awaitable[str | None]]
"""Asks once: None when the part is ready, else why not, in a few words."""

_TIMEOUT = 2.0  # seconds


def http_ready(port: int, path: str) -> Probe:
    """Ready when `path` answers 200."""
    return lambda: asyncio.to_thread(_ask, port, path)


def redis_ready(port: int) -> Probe:
    """Ready when Redis answers PING, which it does only after it has loaded its data."""
    return lambda: _ping(port)


def _ask(port: int, path: str) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return "not listening yet"
    finally:
        connection.close()
    return None if response.status == http.HTTPStatus.OK else _why(response.status, body)


def _why(status: int, body: bytes) -> str:
    """What `/readyz` says is missing."""
    try:
        checks = json.loads(body)["checks"]
        return ", ".join(check["why"] or name for name, check in checks.items() if not check["ok"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"answers {status}"


async def _ping(port: int) -> str | None:
    try:
        async with asyncio.timeout(_TIMEOUT):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"PING\r\n")
                answer = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return "not listening yet"
    return (
        None if answer == b"+PONG\r\n" else answer.decode(errors="replace").strip() or "closed the connection"
    )
