"""The port of backends: one attempt, its answer, and the answer's pieces while it is written."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from schemas.envelope import Request
from workers.core.records import Headers


class Usage(NamedTuple):
    """Tokens that an answer cost."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Answer(NamedTuple):
    """What a backend answered. `choices` are a model's own, where they hold more than the text of one."""

    text: str
    model: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    choices: Sequence[Mapping[str, Any]] | None = None


class Piece(NamedTuple):
    """A piece of an answer that is still being written; `delta` is what came beside its text, as the model sent it."""

    text: str = ""
    delta: Mapping[str, Any] | None = None
    choice: int = 0
    finish_reason: str | None = None
    model: str | None = None


Sink = Callable[[Piece], None]
"""Takes the pieces of an answer in order. Neither blocks nor raises."""


class Call(NamedTuple):
    """One attempt: the request, the seconds it may take, and the trace it belongs to.

    `sink`: where somebody waits for the answer piece by piece. A backend that can't give pieces leaves it alone.
    `headers` are the record's own.
    """

    request: Request
    timeout: float
    traceparent: str | None = None
    sink: Sink | None = None
    headers: Headers = ()


Told = Callable[[Answer | Exception], None]
"""Told once what became of a call: its answer, the `MessageError` with the class of its failure, or a bug."""


class Backend(Protocol):
    """One instance of a target."""

    @property
    def name(self) -> str:
        """How metrics, logs and `route.instance` call it: host and port, or file; never credentials."""

    async def call(self, call: Call) -> Answer:
        """Ask once. Raises `TransientError` or `PermanentError` with the class of the failure, nothing else.

        The answer is whole, also where its pieces went to `call.sink` before. Cancelling it abandons the attempt.
        """

    async def close(self) -> None:
        """Let go of connections."""


@runtime_checkable
class PromptBackend(Backend, Protocol):
    """A backend that can be asked without waiting for anything, so that a call takes no task."""

    def begin(self, call: Call, told: Told) -> Callable[[], None] | None:
        """Ask at once, and tell later, within `call.timeout` seconds; never before this returns.

        Returns how to abandon the attempt, of which nobody is told then. None: it would have to wait before it could
        ask, for a connection say; then `call` does. Raises as `call` does where there is nothing to send.
        """
