"""A router with a broken publisher: `python -m tests.router_failing KAFKA TOPOLOGY [STUCK-AFTER]`.

A message with `fail` in it is refused for good; one with `hang` is never delivered, and never refused either. It drains
for a second, and ends itself where no offset moves for so many seconds; an hour where that is not said.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Sequence
from pathlib import Path

import structlog

from workers.core.clock import SystemClock
from workers.core.errors import FatalError
from workers.core.events import EventLog
from workers.core.exit_codes import ExitCode
from workers.core.logging import configure_logging
from workers.core.metrics import Metrics
from workers.core.records import Outgoing
from workers.core.settings import Settings
from workers.core.topology.load import load_topology
from workers.core.topology.names import Names
from workers.kafka.admin import KafkaAdmin
from workers.kafka.consumer import KafkaSubscription
from workers.kafka.membership import SubscriptionPolicy
from workers.kafka.producer import KafkaPublisher
from workers.router.service import GroupNames, RouterDeps, RouterLimits, RouterService

log = structlog.get_logger()


class Failing(KafkaPublisher):
    """Delivers, until it is asked for the message that can't be."""

    def deliver(self, records: Sequence[Outgoing]) -> Awaitable[None]:
        """See `Publisher`."""
        if any(b"fail" in (record.value or b"") for record in records):
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(FatalError("refused for good"))
            return failed
        if any(b"hang" in (record.value or b"") for record in records):
            log.info("hanging")
            return asyncio.get_running_loop().create_future()
        return super().deliver(records)


async def main(bootstrap: str, path: str, stuck_after: str = "3600") -> ExitCode:
    """Run until it stops itself."""
    topology = load_topology(Path(path), Settings.read().environment)
    names, metrics, clock = Names(topology), Metrics(), SystemClock()
    publisher = Failing({"bootstrap.servers": bootstrap}, metrics)
    config: dict[str, object] = {"bootstrap.servers": bootstrap}
    policy = SubscriptionPolicy(protocol="classic", instance_id="only")
    subscription = KafkaSubscription(config, names.router_group, [names.requests], metrics, policy)
    events = EventLog(publisher, names.logs, "router", clock)
    deps = RouterDeps(topology, publisher, subscription, KafkaAdmin(config), events, metrics, clock)
    group = GroupNames(names.requests, names.router_group)
    limits = RouterLimits(drain=1.0, stuck_after=float(stuck_after), look_every=0.2)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return await RouterService(deps, group, limits).run(stop)


if __name__ == "__main__":
    configure_logging("router")
    sys.exit(asyncio.run(main(*sys.argv[1:4])))
