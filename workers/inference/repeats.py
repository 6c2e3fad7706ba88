"""Messages that come again: answered from the record, or made to wait for the copy that is in work."""

from collections.abc import Awaitable, Callable

from workers.core.ports import Answer
from workers.inference.message import Answered, Message, Outcome
from workers.inference.once import Later, Lease, OncePerId
from workers.inference.pool import Slot, TurnedAwayError

Work = Callable[[Message, Slot], Awaitable[Outcome]]


class Repeats:
    """Lets one copy of a message be worked on at a time, and none after its answer is on record."""

    def __init__(
        self,
        once: OncePerId,
        give_up: Callable[[Slot], None],
        acquire: Callable[[Message], Awaitable[Slot]],
        wait: Callable[[Message, float], Awaitable[None]],
    ) -> None:
        self._once = once
        self._give_up = give_up
        self._acquire = acquire
        self._wait = wait

    async def process(self, message: Message, slot: Slot, work: Work) -> Outcome:
        """Do `work` under a lease on the message's id, unless it was answered before. `work` gives the slot back.

        Raises `PermanentError` when the deadline passes while the message waits for its copy.
        """
        while True:
            start = await self._begin(message, slot)
            if not isinstance(start, Later):
                break
            self._give_up(slot)
            await self._wait(message, start.seconds)
            slot = await self._acquire(message)
            message.waiting = False
        if isinstance(start, Answer):
            self._give_up(slot)
            return Answered(start, repeated=True)
        if start is None:
            return await work(message, slot)
        return await under(self._once, start, message, slot, work)

    async def _begin(self, message: Message, slot: Slot) -> Lease | Answer | Later | None:
        try:
            return await self._once.claim(message.key)
        except BaseException:
            self._give_up(slot)
            raise


async def under(once: OncePerId, lease: Lease, message: Message, slot: Slot, work: Work) -> Outcome:
    """Do `work` while the lease is held; an answer is put on record."""
    try:
        outcome = await work(message, slot)
    except TurnedAwayError:
        # Before the message is handed on: the next target asks for the same id.
        await once.failed(lease)
        raise
    except BaseException:
        once.abandon(lease)
        raise
    if isinstance(outcome, Answered):
        # Before the response is published: killed in between, the next worker finds the record and calls nobody.
        await once.answered(lease, outcome.answer)
    else:
        await once.failed(lease)
    return outcome
