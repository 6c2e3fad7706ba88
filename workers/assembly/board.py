"""What the processes of a deployment say of themselves, and the cluster that is asked while something changes."""

from functools import partial

from schemas.fleet_state import FRESH_MS
from workers.assembly.kafka import open_admin, open_reader
from workers.core.board import Board, Standing, standing
from workers.core.clock import SystemClock
from workers.core.cluster import Cluster
from workers.core.ports import Publisher
from workers.core.settings import Settings
from workers.core.topology.model import Topology
from workers.core.topology.names import Names


def open_cluster(topology: Topology, settings: Settings, kafka: str | None = None) -> Cluster:
    """What a cluster is asked while something changes; opens nothing yet."""
    return Cluster(
        partial(open_admin, topology, settings, kafka),
        lambda topics, starts: open_reader(topology, settings, kafka, topics, start_at=starts),
        SystemClock(),
    )


def open_board(
    topology: Topology, settings: Settings, publisher: Publisher, kafka: str | None = None
) -> tuple[Cluster, Board]:
    """What the processes of a deployment say of themselves, and the cluster that they ask while something changes."""
    names, cluster = Names(topology), open_cluster(topology, settings, kafka)
    return cluster, Board(names.state, names.requests, publisher, partial(cluster.recent, names.state))


async def fleet_standing(topology: Topology, settings: Settings, kafka: str | None = None) -> Standing:
    """What the processes of this deployment said of themselves last. Raises `UnreachableError`, `NotYetError`."""
    names, cluster = Names(topology), open_cluster(topology, settings, kafka)
    return standing(await cluster.recent(names.state, FRESH_MS), names.requests)
