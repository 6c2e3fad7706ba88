"""A router whose deliveries fail for good from the first message with `fail` in its id on: `python -m tests.router_failing`."""

import asyncio
import sys
from collections.abc import Awaitable, Sequence
from pathlib import Path

from workers.core.clock import SystemClock
from workers.core.errors import FatalError
from workers.core.events import EventLog
from workers.core.logging import configure_logging
from workers.core.metrics import Metrics
from workers.core.records import Outgoing
from workers.core.settings import Settings
from workers.core.topology.load import load_topology
from workers.core.topology.names import Names
from workers.kafka.producer import KafkaPublisher
from workers.router.app import GroupSettings
from workers.router.service import RouterDeps, RouterService


class Failing(KafkaPublisher):
    """Delivers, until it is asked for the message that can't be."""

    def deliver(self, records: Sequence[Outgoing]) -> Awaitable[None]:
        """See `Publisher`."""
        if any(b"fail" in (record.value or b"") for record in records):
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(FatalError("refused for good"))
            return failed
        return super().deliver(records)


async def main(bootstrap: str, path: str) -> None:
    """Run until it stops itself."""
    topology = load_topology(Path(path), Settings.read().environment)
    names, metrics, clock = Names(topology), Metrics(), SystemClock()
    publisher = Failing({"bootstrap.servers": bootstrap}, metrics)
    deps = RouterDeps(topology, publisher, EventLog(publisher, names.logs, "router", clock), metrics, clock)
    await RouterService(deps, GroupSettings(bootstrap, names.requests, names.router_group)).run(
        asyncio.Event()
    )


if __name__ == "__main__":
    configure_logging("router")
    asyncio.run(main(*sys.argv[1:3]))
