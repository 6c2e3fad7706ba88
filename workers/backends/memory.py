"""A backend in memory, for tests: it answers and fails as told, and waits where it is held."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from schemas.errors import ErrorClass
from workers.core.errors import MessageError, TransientError
from workers.core.ports import Answer, Call, Piece, Told

ANSWER = Answer("an answer", finish_reason="stop")


class MemoryBackend:
    """See `core.ports.Backend`. Answers `default` unless the script says otherwise.

    `calls` holds every call that came in; `in_flight` and `peak` say how many there were at a time. Whoever wants the
    answer piece by piece gets `pieces` before it, when the call is let through.
    """

    def __init__(self, name: str = "memory", default: Answer | MessageError = ANSWER) -> None:
        self._name = name
        self.default = default
        self.calls: list[Call] = []
        self.in_flight = 0
        self.peak = 0
        self.closed = False
        self.pieces: Sequence[Piece] = ()
        self._script: deque[Answer | MessageError] = deque()
        self._begun: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Event()
        self._gate.set()

    @property
    def name(self) -> str:
        """See `Backend`."""
        return self._name

    def then(self, *outcomes: Answer | MessageError) -> None:
        """The next calls end so, one after the other; then it is `default` again."""
        self._script.extend(outcomes)

    def hold(self) -> None:
        """Calls wait from now on, those that came before `release` too."""
        self._gate.clear()

    def release(self) -> None:
        """Let the waiting calls and all later ones through."""
        self._gate.set()

    async def call(self, call: Call) -> Answer:
        """See `Backend`. An outcome is taken from the script when the call comes in, not when it is let through."""
        if self.closed:
            raise TransientError(ErrorClass.CONNECT, f"{self._name} was let go")
        self.calls.append(call)
        outcome = self._script.popleft() if self._script else self.default
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            async with asyncio.timeout(call.timeout):
                await self._gate.wait()
        except TimeoutError as error:
            raise TransientError(ErrorClass.TIMEOUT, f"{self._name} did not answer in time") from error
        finally:
            self.in_flight -= 1
        if call.sink is not None:
            for piece in self.pieces:
                call.sink(piece)
        if isinstance(outcome, MessageError):
            raise outcome
        return outcome

    def begin(self, call: Call, told: Told) -> Callable[[], None] | None:
        """See `PromptBackend`."""
        if call.sink is not None:
            return None
        task = asyncio.get_running_loop().create_task(self._tell(call, told))
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

        def abandon() -> None:
            task.cancel()

        return abandon

    async def _tell(self, call: Call, told: Told) -> None:
        result: Answer | Exception
        try:
            async with asyncio.timeout(call.timeout):
                result = await self.call(call)
        except TimeoutError:
            result = TransientError(ErrorClass.TIMEOUT, f"{self._name} did not answer in time")
        except Exception as error:  # noqa: BLE001 - tests have backends with bugs
            result = error
        told(result)

    async def close(self) -> None:
        """See `Backend`."""
        self.closed = True
