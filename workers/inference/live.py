"""A changed topology in a running worker process: targets come, go and change without a message being dropped.

A target that changed gets a new worker: the old one finishes its calls, commits and leaves the group, the new one
goes on where it stopped. A target that is gone is worked for until nobody leads to it and nothing is left in its topics.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from schemas.fleet_state import ProcessState, ReadState, process_name
from workers.core.board import Board
from workers.core.cluster import Cluster, written_topics
from workers.core.errors import RelayError
from workers.core.topology.live import Commit, LiveTopology, Version
from workers.core.topology.model import Target, Topology
from workers.core.topology.names import Names
from workers.inference.build import group_topics
from workers.inference.service import WorkerService
from workers.inference.worker import TargetWorker

log = structlog.get_logger()

LOOK_EVERY = 1.0
"""Seconds between two looks whether a target that is gone can be left."""
_DRAIN_SLACK = 5.0  # seconds beyond the longest call


@dataclass(frozen=True, slots=True)
class Outside:
    """What a change asks of the world.

    `make` opens a target's backends, which raises `UsageError` for settings that can't work, and gives what builds its
    worker; `sizes` tells the publisher how large a record the topics take.
    """

    names: Names
    make: Callable[[Topology, str], Callable[[], TargetWorker]]
    sizes: Callable[[Topology], None]
    cluster: Cluster
    board: Board


class LiveWorkers:
    """Follows the topology's file for one worker process. `everything`: it works for all targets there are."""

    def __init__(
        self, service: WorkerService, live: LiveTopology, outside: Outside, *, everything: bool
    ) -> None:
        self._service = service
        self._live = live
        self._outside = outside
        self._process = process_name("worker")
        self._everything = everything
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._with: dict[str, Topology] = dict.fromkeys(service.progress(), live.current.topology)
        live.subscribe(self.prepare)

    async def prepare(self, new: Version) -> Commit:
        """Open what the changed and new targets call; nothing is stopped yet."""
        topology = new.topology
        fresh = [name for name in topology.targets if self._everything and name not in self._with]
        changed = [name for name in self._with if name in topology.targets and self._differs(name, topology)]
        await self._topics(topology, [*fresh, *changed])
        make = {name: self._outside.make(topology, name) for name in (*fresh, *changed)}

        async def commit() -> None:
            self._outside.names.follow(topology)
            self._outside.sizes(topology)
            # New targets first: a changed one may fall back to them.
            for name in fresh:
                await self._start(name, topology, make[name])
            await asyncio.gather(*(self._replace(name, topology, make[name]) for name in changed))
            for name in list(self._with):
                if name in topology.targets:
                    self._stay(name)
                else:
                    self._leave(name)

        return commit

    def state(self) -> ProcessState:
        """For the board: what this process reads, and how its instances stand."""
        current = self._live.current
        return ProcessState(
            process=self._process,
            kind="worker",
            deployment=self._outside.names.requests,
            version=current.name,
            fixed=self._live.fixed,
            reads={
                name: ReadState(
                    joined=joined,
                    hands_to=tuple(self._target(name).fallback),
                    instances=tuple(instances),
                )
                for name, (joined, instances) in self._service.states().items()
            },
        )

    def close(self) -> None:
        """Leave nothing any more: the service drains everything."""
        for task in self._leaving.values():
            task.cancel()

    async def _topics(self, topology: Topology, targets: Sequence[str]) -> None:
        """A new target's topics are created by whoever works for it; routers wait for them."""
        topics = [topic for name in targets for topic in group_topics(topology, name)]
        topics += [topic for name in targets for topic in written_topics(topology, name)]
        await self._outside.cluster.create_missing(topology, topics)

    def _differs(self, name: str, topology: Topology) -> bool:
        return _concerns(self._with[name], name) != _concerns(topology, name)

    def _target(self, name: str) -> Target:
        return self._with[name].targets[name]

    async def _start(self, name: str, topology: Topology, make: Callable[[], TargetWorker]) -> None:
        self._with[name] = topology
        await self._service.begin(make())
        log.info("target_started", target=name)

    async def _replace(self, name: str, topology: Topology, make: Callable[[], TargetWorker]) -> None:
        await self._service.end(name, self._longest(name))
        self._with[name] = topology
        await self._service.begin(make())
        log.info("target_changed", target=name)

    def _longest(self, name: str) -> float:
        return self._target(name).timeout + _DRAIN_SLACK

    def _stay(self, name: str) -> None:
        """It may have been leaving, and is wanted again."""
        task = self._leaving.pop(name, None)
        if task is not None:
            task.cancel()

    def _leave(self, name: str) -> None:
        if name not in self._leaving:
            self._leaving[name] = asyncio.create_task(self._finish(name), name=f"leaving {name}")

    async def _finish(self, name: str) -> None:
        """Work on until nobody leads to the target and nothing is left of it, or an operator says to drop it."""
        said = ""
        while why := await self._needed(name):
            if why != said:
                log.info("target_leaving", target=name, why=why)
                said = why
            await asyncio.sleep(LOOK_EVERY)
        await self._service.end(name, self._longest(name))
        self._with.pop(name, None)
        self._leaving.pop(name, None)
        log.info("target_left", target=name)

    async def _needed(self, name: str) -> str:
        """Why the target is still worked for; empty where it need not be."""
        topology = self._with[name]
        try:
            standing = await self._outside.board.look()
            if name in standing.led_to:
                return "a router or a worker may still put messages on its topic"
            left = await self._outside.cluster.left(
                self._outside.names.worker_group(name), group_topics(topology, name)
            )
        except RelayError as error:
            return f"what is left of it is not known: {error}"
        if left and name in standing.dropped:
            log.warning(
                "target_dropped", target=name, left=left, so="what is left in its topics has no outcome"
            )
            return ""
        return f"{left} messages are left in its topics" if left else ""


def _concerns(topology: Topology, name: str) -> object:
    """What of a topology a target's worker is made of: the target, what it knows of those it falls back to, the tenants."""
    target = topology.targets[name]
    others = [topology.targets[other] for other in target.fallback]
    return target, [(other.price, other.context_length) for other in others], topology.tenants
