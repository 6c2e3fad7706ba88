"""What all backends with addresses share: the address, the name by it, the key, and the ids that go along with a call."""

import re
from urllib.parse import SplitResult, quote, urlsplit

from workers.core.errors import UsageError
from workers.core.ports import Call
from workers.core.topology.instances import Instance

MAX_ANSWER = 10 * 1024 * 1024
"""Bytes of a response that are read; what is larger is no answer anybody could publish."""

ADAPTIVE_CONNECTIONS = 1024
"""Connections at most to an instance whose concurrency is found out while it runs."""

_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def address_of(url: str, schemes: tuple[str, str], example: str) -> SplitResult:
    """The parts of an instance's address. Raises `UsageError` for what is none, or holds credentials."""
    address = urlsplit(url)
    if address.scheme not in schemes or not address.hostname:
        raise UsageError(f"{_masked(address)!r} is not an instance's URL; write {example}")
    if address.username is not None or address.password is not None:
        raise UsageError(f"{_masked(address)!r} holds credentials in its URL; use `api_key` instead")
    return address


def name_of(address: SplitResult) -> str:
    """Host and port; and the path where it is not the usual one, since instances may differ in that alone."""
    path = address.path.rstrip("/")
    return address.netloc + ("" if path in {"", "/v1"} else path)


def bearer(instance: Instance, name: str) -> list[tuple[str, str]]:
    """The header with the instance's key, where it has one. Raises `UsageError` for a key that no header can carry."""
    if instance.api_key is None:
        return []
    key = instance.api_key.get_secret_value()
    if not _HEADER_SAFE.fullmatch(key):
        raise UsageError(
            f"the api_key of {name} holds a space, a line end or a letter that no header can carry; check its file"
        )
    return [("authorization", f"Bearer {key}")]


def connections_of(instance: Instance) -> int:
    """Connections that calls with nothing else on them need at most."""
    return instance.concurrency if isinstance(instance.concurrency, int) else ADAPTIVE_CONNECTIONS


def ids(call: Call) -> list[tuple[str, str]]:
    """The headers that tell which message it is, and the trace; an id that no header can carry is percent-encoded."""
    message_id = call.request.message_id
    if not _HEADER_SAFE.fullmatch(message_id):
        message_id = quote(message_id, safe="", errors="replace")
    headers = [("x-request-id", message_id), ("idempotency-key", message_id)]
    if call.traceparent is not None and _TRACEPARENT.fullmatch(call.traceparent):
        headers.append(("traceparent", call.traceparent))
    return headers


def _masked(address: SplitResult) -> str:
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
