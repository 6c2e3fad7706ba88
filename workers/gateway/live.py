"""A changed topology in a running gateway: its tenants, their limits, and the targets that may be named."""

from collections.abc import Callable

from workers.core.topology.live import Commit, LiveTopology, Version
from workers.core.topology.model import Topology
from workers.gateway.auth import Authenticator
from workers.gateway.doorkeeper import Doorkeeper
from workers.gateway.relay import Relay


class LiveGateway:
    """Follows the topology's file for one gateway. Requests that are under way are not touched."""

    def __init__(
        self,
        relay: Relay,
        authenticator: Authenticator,
        doorkeeper: Callable[[Topology], Doorkeeper | None],
        live: LiveTopology,
    ) -> None:
        self._relay = relay
        self._authenticator = authenticator
        self._doorkeeper = doorkeeper
        live.subscribe(self.prepare)

    async def prepare(self, new: Version) -> Commit:
        """Make what refuses; the change itself is one turn of the loop, so no request is checked by half of each."""
        topology, doorkeeper = new.topology, self._doorkeeper(new.topology)

        async def commit() -> None:
            self._authenticator.follow(topology.tenants)
            self._relay.follow(topology.tenants, frozenset(topology.targets), doorkeeper)

        return commit
