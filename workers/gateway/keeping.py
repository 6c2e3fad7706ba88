"""Answers on their way into the store, in the order in which they were read, and up to where all of them are there."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

import structlog

from workers.core.deadlines import Deadline
from workers.core.errors import UnreachableError
from workers.core.ports import AnswerStore
from workers.core.records import Position, TopicPartition

log = structlog.get_logger()

_ANSWERS_AT_ONCE = 256
_BYTES_AT_ONCE = 4_000_000
_FIRST_PAUSE = 0.05  # seconds
_LONGEST_PAUSE = 2.0

Ends = Mapping[TopicPartition, Position]


class Keeping:
    """What was read and is not kept yet. `passed` hears of each mark once all before it is kept, `all_kept` when nothing is left."""

    def __init__(
        self, store: AnswerStore, passed: Callable[[Ends], None], all_kept: Callable[[], None]
    ) -> None:
        self._store = store
        self._passed = passed
        self._all_kept = all_kept
        self._backlog: deque[tuple[str, bytes]] = deque()
        self.backlog_bytes = 0
        self._read = 0  # answers, ever
        self._kept = 0
        self._marks: deque[tuple[int, Ends]] = deque()  # due when so many are kept
        self._stored = asyncio.Event()
        self._stored.set()
        self._storing: asyncio.Task[None] | None = None

    def add(self, key: str, value: bytes) -> None:
        """An answer was read."""
        self._backlog.append((key, value))
        self.backlog_bytes += len(value)
        self._read += 1

    def mark(self, ends: Ends) -> None:
        """Up to these positions, what was added is all there was to keep."""
        self._marks.append((self._read, ends))
        self._pass_marks()

    def begin(self) -> asyncio.Task[None] | None:
        """Start to keep what was added; None where that is under way, or nothing is there."""
        if not self._backlog or (self._storing is not None and not self._storing.done()):
            return None
        self._stored.clear()
        self._storing = asyncio.get_running_loop().create_task(self._store_backlog())
        return self._storing

    async def settle(self, deadline: Deadline) -> None:
        """Wait until everything that was read is kept."""
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self._stored.wait()
        except TimeoutError:
            log.warning(
                "answers_not_kept", answers=len(self._backlog), so="their partitions' next reader keeps them"
            )

    async def _store_backlog(self) -> None:
        pause = _FIRST_PAUSE
        while self._backlog:
            batch, count, size = self._next_batch()
            try:
                await self._store.put(batch)
            except UnreachableError as error:
                log.warning("answers_not_kept_yet", answers=len(self._backlog), error=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            pause = _FIRST_PAUSE
            for _ in range(count):
                self._backlog.popleft()
            self.backlog_bytes -= size
            self._kept += count
            self._pass_marks()
        self._stored.set()
        self._all_kept()

    def _next_batch(self) -> tuple[dict[str, bytes], int, int]:
        """The oldest answers, how many records they are and how many bytes: of two to one key the later counts."""
        batch: dict[str, bytes] = {}
        count = size = 0
        for key, value in self._backlog:
            if batch and (count >= _ANSWERS_AT_ONCE or size + len(value) > _BYTES_AT_ONCE):
                break
            batch[key] = value
            size += len(value)
            count += 1
        return batch, count, size

    def _pass_marks(self) -> None:
        while self._marks and self._marks[0][0] <= self._kept:
            self._passed(self._marks.popleft()[1])
