"""A timeout for the hot path.

`asyncio.timeout` looks up the loop and the task three times a call, and every look-up asks the system for the process
id: together a fifteenth of what a message costs.
"""

import asyncio


class Alarm:
    """Cancels `task`, which sets it for itself, after so many seconds, unless it is stopped before."""

    __slots__ = ("_handle", "_rang", "_task")

    def __init__(self, task: "asyncio.Task[None]", seconds: float) -> None:
        self._task = task
        self._rang = False
        self._handle = task.get_loop().call_later(max(0.0, seconds), self._ring)

    def stop(self) -> None:
        """Don't ring any more."""
        self._handle.cancel()

    def rang(self) -> bool:
        """Ask once, on a cancellation: whether it came from here and from nobody else. Then it is over and done."""
        return self._rang and self._task.uncancel() == 0

    def _ring(self) -> None:
        self._rang = True
        self._task.cancel()
