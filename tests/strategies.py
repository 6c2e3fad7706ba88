"""Values of every envelope, for property tests: fields as producers may write them, unknown ones among them."""

from typing import Any

from hypothesis import strategies as st

from schemas.avsc import MODELS
from schemas.envelope import LAST_SECOND
from schemas.errors import ErrorClass
from schemas.events import Step

WORD = st.text(max_size=12)
INT64 = st.integers(-(2**63), 2**63 - 1)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
TIMESTAMP = st.floats(0, LAST_SECOND) | st.integers(0, LAST_SECOND)
COUNT = st.integers(0, 2**63 - 1)
SCALAR = st.booleans() | INT64 | NUMBER | WORD
JSON = st.recursive(
    st.none() | SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(WORD, JSON, max_size=3)


def _unknown(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Fields that no model knows; the names of our Avro fields are allowed, and must not be mistaken."""
    taken = set(MODELS[name].model_fields) | {"payload", "text", "messages", "context", "model", "parameters"}
    taken |= {
        "choices",
        "user_id",
        "session_id",
        "stream",
        "role",
        "content",
        "finish_reason",
        "usage",
        "error",
    }
    names = (WORD | st.sampled_from(["extra", "content_parts", "x"])).filter(lambda word: word not in taken)
    return st.dictionaries(names, values, max_size=2)


@st.composite
def _with_unknown(
    draw: st.DrawFn, name: str, known: st.SearchStrategy[dict[str, Any]], values: st.SearchStrategy[Any]
) -> dict[str, Any]:
    return {**draw(_unknown(name, values)), **draw(known)}


def _open(
    name: str,
    required: dict[str, st.SearchStrategy[Any]],
    optional: dict[str, st.SearchStrategy[Any]],
    values: st.SearchStrategy[Any] = JSON,
) -> st.SearchStrategy[dict[str, Any]]:
    known: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(required, optional=optional)
    return _with_unknown(name, known, values)


MESSAGE = _open("request", {"role": WORD}, {"content": st.none() | WORD | st.lists(JSON, max_size=2)})
REQUEST = _open(
    "request",
    {
        "message_id": st.text(min_size=1, max_size=20),
        "source": st.text(min_size=1, max_size=20),
        "payload": _open(
            "request",
            {},
            {
                "text": st.none() | st.text(),
                "messages": st.none() | st.lists(MESSAGE, max_size=2),
                "context": OBJECT,
                "model": st.none() | WORD,
                "parameters": OBJECT,
                "user_id": st.none() | WORD,
                "session_id": st.none() | WORD,
                "stream": st.booleans(),
            },
        ),
        "timestamp": TIMESTAMP,
    },
    {},
)
"""Fields of a request."""

_USAGE = st.fixed_dictionaries({"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT})
_ERROR = st.fixed_dictionaries(
    {"code": st.sampled_from(ErrorClass), "reason": WORD, "retryable": st.booleans()}
)
_PART = st.none() | NUMBER
RESPONSE = _open(
    "response",
    {
        "message_id": st.text(min_size=1, max_size=20),
        "source": WORD,
        "payload": _open(
            "response",
            {},
            {
                "text": st.none() | st.text(),
                "model": st.none() | WORD,
                "finish_reason": st.none() | WORD,
                "usage": st.none() | _USAGE,
                "choices": st.none() | st.lists(OBJECT, max_size=2),
                "error": st.none() | _ERROR,
            },
            SCALAR,
        ),
        "status": st.sampled_from(["ok", "error"]),
        "route": st.fixed_dictionaries(
            {}, optional={"target": st.none() | WORD, "rule": WORD, "instance": WORD, "attempts": COUNT}
        ),
        "timing": st.fixed_dictionaries(
            {},
            optional={"queued": _PART, "routed": _PART, "model": _PART, "first_token": _PART, "total": _PART},
        ),
        "timestamp": TIMESTAMP,
    },
    {},
    SCALAR,
)
"""Fields of a response; unknown ones are never null, for the writer leaves nulls out."""

EVENT = _open(
    "log_event",
    {
        "event": st.sampled_from(Step),
        "message_id": st.none() | WORD,
        "timestamp": TIMESTAMP,
        "process": WORD,
    },
    {
        "source": WORD,
        "target": WORD,
        "rule": WORD,
        "instance": WORD,
        "model": WORD,
        "attempt": COUNT,
        "duration_ms": NUMBER,
        "first_token_ms": NUMBER,
        "queued_ms": NUMBER,
        "total_ms": NUMBER,
        "prompt_tokens": COUNT,
        "completion_tokens": COUNT,
        "total_tokens": COUNT,
        "error_class": st.sampled_from(ErrorClass),
        "position": WORD,
    },
    values=SCALAR,
)
"""Fields of an event of `fleet_logs`."""

CHUNK = _open(
    "chunk",
    {
        "message_id": st.text(min_size=1, max_size=20),
        "attempt": st.integers(1, 2**63 - 1),
        "run": WORD,
        "index": COUNT,
        "timestamp": TIMESTAMP,
    },
    {
        "text": st.text(),
        "delta": OBJECT,
        "choice": COUNT,
        "finish_reason": st.none() | WORD,
        "final": st.booleans(),
        "model": st.none() | WORD,
    },
    values=SCALAR,
)
"""Fields of a piece of a streamed answer."""

HEADERS = st.lists(
    st.tuples(
        st.text(max_size=8)
        | st.sampled_from(
            ["content-type", "Content-Type", "ce_specversion", "ce_id", "ce_time", "__value_schema_id"]
        ),
        st.none()
        | st.binary(max_size=20)
        | st.sampled_from(
            [
                b"1.0",
                b"application/cloudevents+json",
                b"avro/binary",
                b"text/plain",
                b"application/json",
                b"\0\0\0\0\1",
            ]
        ),
    ),
    max_size=4,
).map(tuple)
"""Record headers, those that say the format among them."""
