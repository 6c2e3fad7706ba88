"""The headers that a replayed message goes out with. Pure.

Kept: the producer's own headers, `relay.message-id`, `relay.source`, `relay.origin.*`. Gone: everything that tells of a
failure, whichever system wrote it, and what counts or times the earlier way through the fleet; `first-failed-at` too,
since a retry policy takes it for the message's age. New: `relay.replay.*`, and a trace of its own; the earlier
`traceparent` stays readable in `relay.replay.link`, since a link of its kind has no place in `tracestate`.
"""

import functools
import re
from typing import NamedTuple

from schemas import headers as h
from schemas.dead_letter import DeadLetter, Place, origin_fields
from schemas.headers import Headers

_GONE = frozenset(
    {
        *(h.ERROR_CLASS, h.ERROR_STAGE, h.ERROR_STATUS, h.FIRST_FAILED_AT, h.LAST_FAILED_AT, h.FINGERPRINT),
        *(h.INSTANCE, h.ROUTE, h.ATTEMPT, h.DEFERRALS, h.NOT_BEFORE, h.FALLBACK),
        *(h.RECEIVED_AT, h.ROUTED_AT, h.TARGET, h.TRACEPARENT, h.TRACESTATE, h.DEADLINE),
    }
)
_FAMILIES = (
    "__dlq.errors.",
    "__connect.errors.",
    "__streams.errors.",
    "kafka_dlt-",
    "kafka_original-",
    "kafka_exception-",
    "retry_topic-",
)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-([0-9a-f]{2})")


class Stamp(NamedTuple):
    """What is new: `replay_id` tells job and letter, `number` this replay's number, `trace` 48 hex digits.

    `target` where the message goes to a target's own topic; `deadline_ms` is the message's own, epoch milliseconds.
    """

    replay_id: str
    number: int
    by: str
    trace: str
    target: str | None = None
    deadline_ms: int | None = None


def replay_headers(letter: DeadLetter, stamp: Stamp) -> Headers:
    """The headers of the replay of this letter."""
    kept = tuple(header for header in letter.headers if not _tells_of_failure(header[0]))
    old_trace = h.get(letter.headers, h.TRACEPARENT)
    known = _TRACEPARENT.fullmatch(old_trace or "")
    flags = "01" if known is None else known[1]
    updates = {
        **_origin(letter),
        h.REPLAY_ID: stamp.replay_id,
        h.REPLAY_COUNT: str(stamp.number),
        h.REPLAY_BY: stamp.by,
        h.TRACEPARENT: f"00-{stamp.trace[:32]}-{stamp.trace[32:48]}-{flags}",
    }
    if old_trace and known:
        updates[h.REPLAY_LINK] = old_trace
    if stamp.target is not None:
        updates[h.TARGET] = stamp.target
        if letter.rule is not None and letter.target == stamp.target:
            updates[h.ROUTE] = letter.rule  # the rule that chose the target; the router is not asked again
    if stamp.deadline_ms is not None:
        updates[h.DEADLINE] = str(stamp.deadline_ms)
    return h.with_headers(kept, updates)


@functools.lru_cache(maxsize=4096)
def _tells_of_failure(name: str) -> bool:
    return name in _GONE or name.startswith(_FAMILIES)


def _origin(letter: DeadLetter) -> dict[str, str]:
    """Where the message was first: its own word, else the place that the failing system names."""
    place: Place | None = letter.origin or letter.failed
    if place is None or place.partition is None or place.offset is None:
        return {}
    return origin_fields((), place.topic, place.partition, place.offset)


def replay_id(job: str, position: str) -> str:
    """The `relay.replay.id` of one send: no other letter has it, and no other job."""
    return f"{job}/{position}"


def of_job(headers: Headers, job: str) -> str | None:
    """The position of the letter whose replay by this job a record comes from."""
    found = h.get(headers, h.REPLAY_ID)
    prefix = f"{job}/"
    return found[len(prefix) :] if found is not None and found.startswith(prefix) else None
