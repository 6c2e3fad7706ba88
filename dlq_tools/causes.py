"""What a failure probably means, and what to look at: for an operator who sees its class for the first time."""

from schemas.errors import ErrorClass

_OURS = {
    ErrorClass.RATE_LIMITED: "the backend asked for fewer calls until the deadline was over: raise its quota or lower the target's concurrency",
    ErrorClass.OVERLOADED: "the backend had no room until the deadline was over: add instances, then replay slowly",
    ErrorClass.TIMEOUT: "the backend gave no whole answer in time: is it slow, or is the target's timeout too short for these prompts?",
    ErrorClass.CONNECT: "no connection to the backend, or it broke: is it running, is its address right?",
    ErrorClass.UPSTREAM_5XX: "the backend itself failed: see its own log at that time",
    ErrorClass.UPSTREAM_4XX: "the backend refuses these requests: they must be mended before a replay",
    ErrorClass.AUTH: "the backend refuses our credentials: renew them in the topology, then replay",
    ErrorClass.CONTENT_FILTER: "the backend refuses the content: a replay as it is ends the same way",
    ErrorClass.CONTEXT_LENGTH: "longer than the model takes: shorten it, or replay to a target with a larger model",
    ErrorClass.SCHEMA: "not an envelope, or not what the target needs: a producer writes something else; mend and replay",
    ErrorClass.UNROUTABLE: "no rule takes it, or its target is gone: mend the routes, then replay",
    ErrorClass.EXPIRED: "its deadline was over before it could be answered: replay with a new deadline, or discard",
    ErrorClass.TOO_LARGE: "larger than the topic takes: raise max.message.bytes, or mend",
    ErrorClass.INTERNAL: "a fault of the fleet itself: report it with the message and the fleet's log",
}
# Words in the exceptions and messages of other systems, the telling ones first.
_ELSEWHERE = (
    (("deserializ", "serializ", "dataexception", "jsonparse", "jsonmapping", "avro", "schema", "malformed", "decode"),
     "the value is not what its reader expects: has a producer or a schema changed?"),
    (("toolarge", "too large"), "larger than a topic or a receiver takes"),
    (("auth", "forbidden", "unauthorized", "permission", "accessdenied", "sasl"), "credentials or rights are missing"),
    (("timeout", "timedout", "timed out"), "something behind the consumer gave no answer in time"),
    (("connect", "unreachable", "unknownhost", "refused"), "something behind the consumer could not be reached"),
    (("sql", "constraint", "duplicate", "deadlock"), "a database refused the record"),
    (("nullpointer", "none", "keyerror", "indexoutof", "classcast", "illegalargument", "typeerror"),
     "the consumer did not expect this record: a field is missing, or of another type"),
)  # fmt: skip


def likely_cause(error_class: str | None, exception: str | None, message: str | None) -> str:
    """One sentence; for what says nothing of itself, that it doesn't."""
    known = next((said for ours, said in _OURS.items() if ours.value == error_class), None)
    if known is not None:
        return known
    text = f"{error_class or ''} {exception or ''} {message or ''}".lower()
    found = next((said for words, said in _ELSEWHERE if any(word in text for word in words)), None)
    return found or ("no reason is given in the headers" if not text.strip() else "see the message")
