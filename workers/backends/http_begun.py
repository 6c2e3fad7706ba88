"""A call that has been sent and that nobody awaits: whoever asked is told."""

import asyncio
from collections.abc import Callable

from workers.backends.http_connection import HttpConnection, HttpResponse, Result, StaleError
from workers.core.ports import Answer, Told

TellResponse = Callable[[HttpResponse | Exception], None]


def tell_answer(
    read: Callable[[HttpResponse], Answer], told: Told, response: HttpResponse | Exception
) -> None:
    """Tell what `read` makes of a response: an answer, or whatever it raises."""
    result: Answer | Exception
    if isinstance(response, Exception):
        result = response
    else:
        try:
            result = read(response)
        except Exception as error:  # noqa: BLE001 - whoever asked knows what a bug means
            result = error
    told(result)


class Begun:
    """From its first byte to its answer, on a second connection where the first one had been closed while it was idle."""

    __slots__ = ("_again", "_connection", "_task", "_told", "data", "head", "until")

    def __init__(
        self,
        connection: HttpConnection,
        data: bytes,
        until: float,
        told: TellResponse,
        again: Callable[["Begun"], "asyncio.Task[None]"],
    ) -> None:
        """`until` is loop time. `again` asks once more, in a task that ends with `tell`."""
        self.data = data
        self.until = until
        self.head = False
        self._connection = connection
        self._told: TellResponse | None = told
        self._again = again
        self._task: asyncio.Task[None] | None = None

    def send(self, limit: int, *, head: bool) -> None:
        """Send it. `limit`: bytes of an answer; `head`: which has no body."""
        self.head = head
        self._connection.send(self.data, self.until, limit, self.tell, streamed=False, head=head)

    def tell(self, result: Result | Exception) -> None:
        """What a connection tells, or what asking again raised."""
        told = self._told
        if told is None:
            return
        if isinstance(result, StaleError):
            self._task = self._again(self)
        else:
            self._told = None
            assert isinstance(result, HttpResponse | Exception)  # noqa: S101 - no stream was asked for
            told(result)

    def abandon(self) -> None:
        """Close the connection where the answer is still to come. Nobody is told any more."""
        if self._told is None:
            return
        self._told = None
        if self._task is not None:
            self._task.cancel()
        else:
            self._connection.abort()
