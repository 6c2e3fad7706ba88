"""A changed topology in a running router: new routes are used once everything that they lead to is there, and read."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from schemas.fleet_state import ProcessState, process_name
from workers.core.board import Board
from workers.core.clock import Clock
from workers.core.errors import NotYetError
from workers.core.topology.change import leads_to
from workers.core.topology.live import Commit, LiveTopology, Version
from workers.core.topology.model import Topology
from workers.core.topology.names import Names
from workers.policies.guess import Classifier
from workers.policies.prefer import Speeds
from workers.router.planner import Planner
from workers.router.service import RouterService


@dataclass(frozen=True, slots=True)
class Outside:
    """What a change asks of the world.

    `topics` raises `NotYetError` where some of these are missing; `learn` takes seconds and runs in a thread; `sizes`
    tells the publisher how large a record the topics take.
    """

    topics: Callable[[Iterable[str]], Awaitable[None]]
    learn: Callable[[Topology], Classifier | None]
    sizes: Callable[[Topology], None]
    board: Board
    clock: Clock
    speeds: Speeds = field(default_factory=Speeds)


class LiveRouter:
    """Follows the topology's file for one router."""

    def __init__(self, service: RouterService, live: LiveTopology, outside: Outside) -> None:
        self._service = service
        self._live = live
        self._outside = outside
        self._process = process_name("router")
        live.subscribe(self.prepare)

    async def prepare(self, new: Version) -> Commit:
        """Compile the routes and learn the intents, in a thread; the router goes on meanwhile."""
        topology = new.topology
        names = Names(topology)
        await self._outside.topics([names.shadow, *map(names.target, leads_to(topology))])
        await self._somebody_reads(leads_to(topology) - leads_to(self._live.current.topology))
        planner = await asyncio.to_thread(self._planner, topology)

        async def commit() -> None:
            self._outside.sizes(topology)
            self._service.use(planner)

        return commit

    def prefers(self) -> bool:
        """Whether a route asks how fast its targets are."""
        return any(route.prefer == "fastest" for route in self._live.current.topology.routes)

    def state(self) -> ProcessState:
        """For the board: a worker must not leave a target to which this router may still lead."""
        return ProcessState(
            process=self._process,
            kind="router",
            deployment=Names(self._live.current.topology).requests,
            version=self._live.current.name,
            fixed=self._live.fixed,
            leads_to=tuple(sorted(self._service.leads_to)),
        )

    def _planner(self, topology: Topology) -> Planner:
        return Planner(topology, self._outside.clock, self._outside.learn(topology), self._outside.speeds)

    async def _somebody_reads(self, targets: frozenset[str]) -> None:
        """A route must not lead where nobody would answer."""
        if not targets:
            return
        unread = targets - (await self._outside.board.look()).read
        if unread:
            raise NotYetError(
                f"no worker has joined for {', '.join(sorted(unread))} yet; messages go on as before until one has"
            )
