"""What a client asks, from the fields that it sent to the record that goes to Kafka."""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from schemas import headers as h
from schemas.codec.models import validate
from schemas.envelope import MAX_ID_CHARS, Request
from schemas.errors import DecodeError
from schemas.headers import Headers
from workers.core.clock import Clock
from workers.core.deadlines import Deadline
from workers.gateway.refusals import invalid, too_large
from workers.gateway.waiting import new_id

SOURCE = "gateway"
"""The `source` of a request whose client names none."""

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_MAX_TRACESTATE = 512
_MAX_CACHE_CONTROL = 256


class Question(NamedTuple):
    """One request of a client.

    `fields` are those of the envelope; id, source and time are filled in where they are missing. `client` is who the
    limits count for; `tenant` and `target` None: nobody in particular, and where the routes say.
    """

    fields: Mapping[str, Any]
    client: str
    tenant: str | None = None
    deadline: Deadline | None = None
    stream: bool = False
    target: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    cache_control: str | None = None


class Envelope(NamedTuple):
    """A question that is well formed. `named`: the client chose the id, so that it may come again."""

    message_id: str
    key: bytes
    value: bytes
    fingerprint: bytes
    named: bool


def envelope_of(question: Question, clock: Clock, *, most_text: int, tenants: bool) -> Envelope:
    """Complete and check the fields. Raises `RefusalError`.

    `tenants`: the fleet has some, so that the field `tenant` is not the client's to set.
    """
    fields = dict(question.fields)
    named = fields.get("message_id") is not None
    if not named:
        fields["message_id"] = f"req_{new_id()}"
    if fields.get("source") is None:
        fields["source"] = SOURCE
    if fields.get("timestamp") is None:
        fields["timestamp"] = round(clock.wall(), 3)
    if tenants or question.tenant is not None:
        fields.pop("tenant", None)
    if question.stream and isinstance(fields.get("payload"), dict):
        fields["payload"] = {**fields["payload"], "stream": True}
    request = _checked(fields, most_text)
    payload = request.payload
    key = payload.session_id or payload.user_id or request.message_id
    try:
        value = orjson.dumps(fields)
        return Envelope(
            request.message_id,
            key.encode(),
            value,
            _fingerprint(fields, question.target) if named else b"",
            named,
        )
    except (TypeError, ValueError) as error:  # a lone surrogate, or a number beyond 64 bits
        raise invalid("a text is not Unicode, or a number has more than 64 bits") from error


def record_headers(question: Question, places: tuple[int, int], clock: Clock) -> Headers:
    """The headers of the request's record. None of them is the client's to set but those of its trace, and what
    it says of caches."""
    headers = _always(places)
    if question.tenant is not None:
        headers += ((h.TENANT, h.to_bytes(question.tenant)),)
    if question.target is not None:
        headers += ((h.TARGET, h.to_bytes(question.target)),)
    if question.deadline is not None:
        ends = int((clock.wall() + question.deadline.remaining()) * 1000)
        headers += ((h.DEADLINE, b"%d" % ends),)
    if question.traceparent is not None and _TRACEPARENT.fullmatch(question.traceparent):
        headers += ((h.TRACEPARENT, question.traceparent.encode()),)
        if question.tracestate and len(question.tracestate) <= _MAX_TRACESTATE:
            headers += ((h.TRACESTATE, h.to_bytes(question.tracestate)),)
    if question.cache_control and len(question.cache_control) <= _MAX_CACHE_CONTROL:
        headers += ((h.CACHE_CONTROL, h.to_bytes(question.cache_control)),)
    return headers


@lru_cache(maxsize=4096)
def _always(places: tuple[int, int]) -> Headers:
    return ((h.REPLY_PARTITION, h.reply_places(*places).encode()), (h.CONTENT_TYPE, b"application/json"))


def legal_id(message_id: str) -> bool:
    """Whether this can be an id: what a header, a log line and an address can hold as it is."""
    return (
        0 < len(message_id) <= MAX_ID_CHARS and message_id.isprintable() and message_id.strip() == message_id
    )


def _checked(fields: dict[str, Any], most_text: int) -> Request:
    try:
        request = validate(Request, fields, "json")
    except DecodeError as error:
        raise invalid(f"{error.path}: {error.reason}" if error.path else error.reason) from error
    if not legal_id(request.message_id):
        raise invalid(f"message_id: at most {MAX_ID_CHARS} printable characters, no blank at either end")
    payload = request.payload
    if payload.text is None and not payload.messages:
        raise invalid("payload.text: a text is needed, or `messages`")
    length = len(payload.text or "") + sum(_length(message.content) for message in payload.messages or ())
    if length > most_text:
        raise too_large(f"the text has {length} characters, {most_text} at most are taken")
    return request


def _length(content: str | list[Any] | None) -> int:
    if content is None or isinstance(content, str):
        return len(content or "")
    return sum(len(part.get("text") or "") for part in content if isinstance(part, dict) and _is_text(part))


def _is_text(part: dict[str, Any]) -> bool:
    return isinstance(part.get("text"), str)


def _fingerprint(fields: Mapping[str, Any], target: str | None) -> bytes:
    """The same for the same question, whenever and however often it is asked."""
    what = [fields["source"], fields["payload"], target]
    return hashlib.blake2b(orjson.dumps(what, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
