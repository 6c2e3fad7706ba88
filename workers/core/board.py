"""The board: where the processes of a fleet tell each other what they do, so that a change can wait for the others.

It is a topic with short records and a short life. Nothing is promised of a single record: what counts is what was
told in the last seconds.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from pydantic import ValidationError

from schemas.fleet_state import FRESH_MS, TELL_EVERY, DropOrder, ProcessState
from workers.core.cluster import Cluster
from workers.core.ports import Publisher
from workers.core.records import Outgoing, Received

log = structlog.get_logger()

Recent = Callable[[int], Awaitable[Sequence[Received]]]
"""The records of the board's topic from the last so many milliseconds. Raises `UnreachableError`, `NotYetError`."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the processes of one deployment said last; those that fell silent or left are not in it."""

    processes: tuple[ProcessState, ...] = ()
    dropped: frozenset[str] = frozenset()

    @property
    def led_to(self) -> frozenset[str]:
        """The targets on whose topics somebody may still put messages."""
        routed = {target for each in self.processes for target in each.leads_to}
        return frozenset(
            routed.union(*(read.hands_to for each in self.processes for read in each.reads.values()))
        )

    @property
    def read(self) -> frozenset[str]:
        """The targets that somebody reads."""
        return frozenset(
            target for each in self.processes for target, read in each.reads.items() if read.joined
        )


def standing(records: Iterable[Received], deployment: str) -> Standing:
    """Read the board; what can't be read, or is about another deployment, is passed over."""
    processes: dict[str, ProcessState] = {}
    dropped: set[str] = set()
    for record in records:
        told = _read(record.value)
        if told is None or told.deployment != deployment:
            continue
        match told:
            case ProcessState():
                processes[told.process] = told
            case DropOrder():
                dropped.add(told.drop)
    return Standing(tuple(each for each in processes.values() if not each.gone), frozenset(dropped))


def _read(value: bytes | None) -> ProcessState | DropOrder | None:
    for kind in (ProcessState, DropOrder):
        try:
            return kind.model_validate_json(value or b"")
        except ValidationError:
            continue
    return None


@asynccontextmanager
async def telling(cluster: Cluster, board: "Board", state: Callable[[], ProcessState]) -> AsyncIterator[None]:
    """Say on the board how this process stands, while the context lasts; without the topic it says nothing."""
    if not await cluster.exists(board.topic):
        log.warning("no_fleet_state", topic=board.topic, so="`relayfleet topology apply` creates it")
        yield
        return
    task = asyncio.create_task(board.keep_telling(state), name="fleet state")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Board:
    """One process's view of the board of its deployment."""

    def __init__(self, topic: str, deployment: str, publisher: Publisher, recent: Recent) -> None:
        self.topic = topic
        self._deployment = deployment
        self._publisher = publisher
        self._recent = recent

    async def look(self) -> Standing:
        """What all processes do. Raises `UnreachableError`, and `NotYetError` where there is no board."""
        return standing(await self._recent(FRESH_MS), self._deployment)

    def tell(self, state: ProcessState) -> None:
        """Say what this process does."""
        self._publisher.post(Outgoing(self.topic, state.process.encode(), state.model_dump_json().encode()))

    def order(self, order: DropOrder) -> None:
        """Say what an operator wants."""
        self._publisher.post(Outgoing(self.topic, order.drop.encode(), order.model_dump_json().encode()))

    async def keep_telling(self, state: Callable[[], ProcessState]) -> None:
        """Say so every few seconds until cancelled, and then that the process is gone."""
        try:
            while True:
                self.tell(state())
                await asyncio.sleep(TELL_EVERY)
        finally:
            self.tell(state().model_copy(update={"gone": True}))
