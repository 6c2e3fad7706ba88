"""A message on a way of its own: a task that makes its outcome, however long that waits."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from workers.inference.message import AbandonedError, Message, Outcome
from workers.inference.pool import Slot

Way = Callable[[], Awaitable[Outcome]]


class Walks(Protocol):
    """Who starts messages, and is told what became of them."""

    def walk(self, message: Message, slot: Slot) -> None:
        """Work on it from the beginning, with a task."""

    def resume(self, message: Message, way: Way, give_up: Callable[[], None]) -> None:
        """Go on with a task. `give_up`: what to do instead where it is given up before that runs."""

    def ended(self, message: Message, outcome: Outcome) -> None:
        """Publish what it ended as."""

    def abandon(self, message: Message) -> None:
        """Leave it as it is: it comes again, here or elsewhere."""

    def broke(self, message: Message, error: Exception) -> None:
        """Something broke that must not: leave it as it is, and the process has to stop."""


async def walk(walks: Walks, message: Message, way: Way, give_up: Callable[[], None]) -> None:
    """Go one message's way to its end."""
    message.started = True
    if message.given_up:
        give_up()
        walks.abandon(message)
        return
    try:
        outcome = await way()
    except (asyncio.CancelledError, AbandonedError):
        walks.abandon(message)
    except Exception as error:  # noqa: BLE001 - whatever it is, the process must not go on as if nothing were
        walks.broke(message, error)
    else:
        walks.ended(message, outcome)
