"""What is done to a message between its waits: read, looked at for its time, called, and entered when the call is over.

Without coroutines, so that it can be compiled; whoever waits is in `pipeline` and `express`.
"""

from schemas.codec import read_request
from schemas.envelope import Request
from schemas.errors import DecodeError, ErrorClass, Stage
from workers.core.clock import Clock
from workers.core.errors import MessageError, PermanentError
from workers.core.ports import Answer, Call, Sink
from workers.inference.attempts import Attempts
from workers.inference.message import Message
from workers.inference.policy import TargetPolicy
from workers.inference.pool import Pool, Slot
from workers.inference.recorded import key_of
from workers.policies.expiry import UsualTime, deadline_of
from workers.policies.retry import count


class Steps:
    """The steps of one target's messages."""

    def __init__(self, policy: TargetPolicy, pool: Pool, attempts: Attempts, clock: Clock) -> None:
        self._policy = policy
        self._pool = pool
        self._attempts = attempts
        self._clock = clock
        self._usual = UsualTime()

    def read(self, message: Message) -> Request:
        """Decode it. Raises `PermanentError(schema)`."""
        record = message.record
        try:
            request, message.wire, payload = read_request(
                record.value, record.headers, message.marks.received_ms
            )
        except DecodeError as error:
            raise PermanentError(ErrorClass.SCHEMA, str(error), stage=Stage.DECODE) from error
        message.request = message.asked = request
        message.key = key_of(request.source, request.message_id, payload)
        message.deadline = deadline_of(
            request.timestamp, message.marks.deadline_ms, self._policy.expires_after, self._clock
        )
        return request

    def check_time(self, message: Message) -> None:
        """A call whose answer would come too late is not made. Raises `PermanentError(expired)`."""
        if message.deadline is None:
            return
        now = self._clock.monotonic()
        left = message.deadline - now
        usual = self._usual.current(now)
        if left <= 0:
            raise PermanentError(ErrorClass.EXPIRED, "its deadline had passed before it could be sent")
        if left < usual:
            raise PermanentError(
                ErrorClass.EXPIRED,
                f"its deadline leaves {left:.1f} s, and {self._policy.name} usually takes {usual:.1f} s",
            )

    def call(self, message: Message, now: float, sink: Sink | None = None) -> Call:
        """What to ask: no call outlives its message's deadline."""
        assert message.asked is not None  # noqa: S101 - it was read before the first attempt
        seconds = self._policy.timeout
        if message.deadline is not None:
            seconds = min(seconds, message.deadline - now)
        return Call(message.asked, seconds, message.marks.traceparent, sink, message.record.headers)

    def over(self, message: Message, slot: Slot, began: float, result: Answer | MessageError) -> None:
        """Enter an attempt everywhere it counts, and give the slot back."""
        now = self._clock.monotonic()
        seconds = now - began
        message.model_seconds += seconds
        failure = result if isinstance(result, MessageError) else None
        if failure is None:
            message.state.attempts += 1
            self._usual.observe(seconds, now)
        else:
            count(message.state, failure, self._clock.wall())
        self._attempts.enter(message, seconds, result)
        self._pool.give_back(slot, failure, seconds)
