"""What the running processes of a fleet say of themselves, asked by a command that can do without."""

import asyncio
import socket

from workers import assembly
from workers.core.board import Standing
from workers.core.errors import RelayError
from workers.core.settings import Settings
from workers.core.topology.model import Topology

_CONNECT_WITHIN = 1.0  # seconds
_ANSWER_WITHIN = 5.0


def running_fleet(topology: Topology, settings: Settings, kafka: str | None) -> Standing | None:
    """How the fleet stands; None where nobody can be asked. Takes seconds at most, and never fails."""
    try:
        located = assembly.located(topology, settings, kafka)
        if not any(map(_listens, located.kafka.bootstrap.split(","))):
            return None
        return asyncio.run(_ask(located, settings))
    except (RelayError, TimeoutError):
        return None


async def _ask(topology: Topology, settings: Settings) -> Standing:
    async with asyncio.timeout(_ANSWER_WITHIN):
        return await assembly.fleet_standing(topology, settings)


def _listens(address: str) -> bool:
    """Kafka's client would try for much longer."""
    host, _, port = address.strip().rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_WITHIN).close()
    except (OSError, ValueError):
        return False
    return True
