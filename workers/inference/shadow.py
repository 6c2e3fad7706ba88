"""Copies of messages that another target answers: called once, recorded beside, and the first to go when it gets tight.

A shadow never waits, is never tried again, becomes no dead letter, asks for no lease, and is on nobody's account.
"""

from schemas import headers as h
from schemas.codec import decode_request
from schemas.errors import DecodeError
from workers.core.clock import Clock
from workers.core.errors import MessageError
from workers.core.ports import Answer, Call
from workers.inference.calling import ask
from workers.inference.message import Message, Shadowed
from workers.inference.policy import TargetPolicy
from workers.inference.pool import Pool, Slot

LATEST = 60.0
"""Seconds after a message was asked for which its shadow is still worth a call."""
BUSY = 0.5
"""The part of a target's calls that shadows may be among; what goes beyond is for those that somebody waits for."""


class Shadows:
    """The shadows that one target gets."""

    def __init__(self, policy: TargetPolicy, pool: Pool, clock: Clock) -> None:
        self._policy = policy
        self._pool = pool
        self._clock = clock

    async def process(self, message: Message, slot: Slot) -> Shadowed:
        """Call once, unless others need the room. Cancelling abandons the shadow."""
        if not slot.taken or self._tight(message):
            self._pool.give_up(slot)
            return Shadowed(None)
        try:
            record = message.record
            message.request, message.wire = decode_request(
                record.value, record.headers, received_ms=message.marks.received_ms
            )
        except DecodeError:
            self._pool.give_up(slot)
            return Shadowed(None)
        return Shadowed(await self._call(message, slot))

    def _tight(self, message: Message) -> bool:
        age = self._clock.wall() - message.marks.received_ms / 1000
        late = age > LATEST or (
            message.marks.deadline_ms is not None and self._late(message.marks.deadline_ms)
        )
        return late or self._pool.out_of_service or self._pool.calls > max(1.0, BUSY * self._pool.capacity)

    def _late(self, deadline_ms: int) -> bool:
        return self._clock.wall() * 1000 >= deadline_ms

    async def _call(self, message: Message, slot: Slot) -> Answer | MessageError:
        assert message.request is not None  # noqa: S101 - it was read just before
        message.instance = slot.backend.name
        began = self._clock.monotonic()
        result: Answer | MessageError
        try:
            call = Call(message.request, self._policy.timeout, h.get(message.record.headers, h.TRACEPARENT))
            result = await ask(slot.backend, call, message, self._policy.name)
        except MessageError as error:
            result = error
        except BaseException:
            self._pool.give_up(slot)
            raise
        message.model_seconds = self._clock.monotonic() - began
        message.state.attempts = 1
        failure = result if isinstance(result, MessageError) else None
        self._pool.give_back(slot, failure, message.model_seconds)
        return result
