"""What a changed file means for the processes that run: taken over live, after a restart, or not before work is done."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import typer
from rich.text import Text

from schemas.fleet_state import DropOrder
from workers import assembly
from workers.core.board import Standing
from workers.core.cluster import Cluster
from workers.core.errors import NotYetError
from workers.core.settings import Settings
from workers.core.topology.change import fixed_parts
from workers.core.topology.live import version_name
from workers.core.topology.model import Topology
from workers.core.topology.names import Names
from workers.shell import console


@dataclass(frozen=True, slots=True)
class Live:
    """How the running processes stand to a file. `left`: of targets that it has no more, messages in their topics."""

    version: str
    standing: Standing
    restart: tuple[str, ...] = ()  # fields that some process read at its start and that differ
    left: dict[str, int] = field(default_factory=dict)

    @property
    def given_up(self) -> frozenset[str]:
        """Removed targets that no worker works for any more, though workers run."""
        reads = [each.reads for each in self.standing.processes if each.kind == "worker"]
        return frozenset(
            target for target in self.left if reads and not any(target in each for each in reads)
        )

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        processes = [
            {"process": each.process, "kind": each.kind, "version": each.version}
            for each in self.standing.processes
        ]
        return {
            "version": self.version,
            "processes": processes,
            "restart": list(self.restart),
            "left": self.left,
        }

    def print(self) -> None:
        """For people."""
        out = console()
        behind = [each for each in self.standing.processes if each.version != self.version]
        if not self.standing.processes:
            out.print(Text(f"version {self.version}; no running process tells of itself"))
        elif not behind:
            out.print(Text(f"version {self.version} is in use by all that runs"))
        else:
            names = ", ".join(each.process for each in behind)
            out.print(Text(f"version {self.version}; taken over live, from the file that they read: {names}"))
        if self.restart:
            out.print(Text(f"read at their start, and not the same there as here: {', '.join(self.restart)}"))
            out.print(
                Text(
                    "  if the file changed: restart one process after the other; "
                    "if only the environment differs (`up` sets addresses of its own): nothing to do"
                )
            )


async def look(loaded: Topology, settings: Settings, kafka: str | None, unknown: Sequence[str]) -> Live:
    """Ask the cluster. `unknown` are its topics that look like ours and that the file has no use for."""
    cluster = assembly.open_cluster(loaded, settings, kafka)
    try:
        standing = await assembly.fleet_standing(loaded, settings, kafka)
    except NotYetError:
        standing = Standing()
    wanted = fixed_parts(loaded)
    restart = {
        name
        for each in standing.processes
        for name, said in each.fixed.items()
        if name in wanted and said != wanted[name]
    }
    left = await _left(cluster, Names(loaded), unknown)
    return Live(version_name(loaded), standing, tuple(sorted(restart)), left)


async def _left(cluster: Cluster, names: Names, unknown: Sequence[str]) -> dict[str, int]:
    topics: dict[str, list[str]] = {}
    for topic in unknown:
        target = topic.removeprefix(f"{names.requests}.").partition(".retry.")[0]
        if topic != target and not names.knows(target):
            topics.setdefault(target, []).append(topic)
    left = {
        target: await cluster.left(names.worker_group(target), listed) for target, listed in topics.items()
    }
    return {target: count for target, count in left.items() if count}


def refuse(live: Live, dropped: Sequence[str]) -> bool:
    """Say what keeps targets from being removed; whether something does."""
    refused = False
    for target, count in live.left.items():
        what = f"target {target} is gone from the file, and {count} messages are left in its topics"
        if target in live.given_up:
            typer.echo(f"{what}, which nobody reads: put the target back to have them answered", err=True)
        elif target not in dropped:
            refused = True
            advice = f"look again later, put the target back, or give them up with --drop-work {target}"
            typer.echo(f"{what}: its workers go on until none is; {advice}", err=True)
    return refused


async def drop(loaded: Topology, settings: Settings, kafka: str | None, targets: Sequence[str]) -> None:
    """Tell the workers of removed targets to stop; what is left in their topics stays there, and gets no outcome."""
    names = Names(loaded)
    async with assembly.open_publisher(loaded, settings, kafka) as publisher:
        _, board = assembly.open_board(loaded, settings, publisher, kafka)
        for target in targets:
            board.order(DropOrder(drop=target, deployment=names.requests))
