"""The Faust app: one agent, no tables, nothing bound, nothing stored, nothing created.

Faust acknowledges an event whose agent raised (its issues 527 and 315), so no exception leaves the agent: any stops the
process before the next acknowledgement. It also loses events where an agent's concurrency is above one (606).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import faust
from faust.streams import Stream
from faust.tables import TableManager
from faust.types import EventT, StreamT
from mode import ServiceT

from workers.core.errors import FatalError
from workers.core.records import Received
from workers.core.topology.model import Security
from workers.router.pipeline import Pipeline
from workers.router.security import credentials
from workers.router.transport import SliceConsumer, SliceMessage, Slices, SliceTransport
from workers.router.waits import FAUST_LOGGER

SLICES_QUEUED = 4
_RECORDS_A_FETCH = 2_000


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """Membership of the routers' group. Times are seconds.

    With `member` (unique in the group and the same after a restart) a restarted router has its partitions back at once
    instead of when the old session ends.
    """

    bootstrap: str
    topic: str
    group: str
    member: str | None = None
    session_timeout: float = 10.0
    heartbeat: float = 3.0
    rebalance_timeout: float = 30.0


class _NoTables(TableManager):
    """Faust waits a second at start for tables to be registered; there are none."""

    logger = FAUST_LOGGER

    async def on_start(self) -> None:
        """Ready at once."""
        await self._update_channels()
        await self.recovery.start()


class RouterApp(faust.App):
    """A Faust app that stores nothing."""

    logger = FAUST_LOGGER

    def _create_directories(self) -> None:
        """No data directory: there are no tables."""

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """Without Faust's monitor, which keeps statistics of each event that nobody reads."""
        services = super().on_init_dependencies()
        self.sensors.remove(self.monitor)
        return services

    @property
    def slices(self) -> SliceConsumer:
        """The consumer, with its ledgers."""
        consumer = self.consumer
        if not isinstance(consumer, SliceConsumer):
            raise FatalError("the router runs on a transport that is not its own: offsets would not be safe")
        return consumer


def build_app(
    settings: GroupSettings, security: Security, pipeline: Pipeline, failed: Callable[[BaseException], None]
) -> RouterApp:
    """The app, not started. `failed` gets whatever went wrong in the agent and must stop the process."""
    app = RouterApp(
        settings.group,
        broker=f"kafka://{settings.bootstrap.replace(',', ';')}",
        broker_credentials=credentials(security),
        **_options(settings),
    )
    app.transport = SliceTransport(app.conf.broker_consumer, app)

    async def route(stream: StreamT[Any]) -> None:
        try:
            await _submit_all(stream, pipeline)
        except Exception as error:  # noqa: BLE001 - Faust would acknowledge the event and go on
            failed(error)

    topic = app.topic(
        settings.topic, key_serializer="raw", value_serializer="raw", value_type=bytes, allow_empty=True
    )
    agent = app.agent(topic, name="route", concurrency=1)(route)
    if agent.concurrency != 1:
        raise FatalError(
            "the router's agent must have concurrency 1: Faust commits past messages in flight otherwise"
        )
    return app


def _options(settings: GroupSettings) -> dict[str, Any]:
    return {
        "autodiscover": False,
        "store": "memory://",
        "web_enabled": False,
        "topic_allow_declare": False,  # `relayfleet topology apply` creates topics
        "topic_disable_leader": True,
        "processing_guarantee": "at_least_once",
        "consumer_auto_offset_reset": "earliest",
        "consumer_group_instance_id": settings.member,
        "broker_client_id": "relayfleet-router",
        "broker_session_timeout": settings.session_timeout,
        "broker_heartbeat_interval": settings.heartbeat,
        "broker_rebalance_timeout": settings.rebalance_timeout,
        "broker_request_timeout": max(40.0, settings.session_timeout),
        # How long the messages of a partition that was added wait for being noticed; by default 5 minutes.
        "consumer_metadata_max_age_ms": 10_000,
        "broker_commit_every": None,
        "broker_max_poll_records": _RECORDS_A_FETCH,
        "stream_buffer_maxsize": SLICES_QUEUED,
        "stream_wait_empty": True,  # a revoked partition's work is finished and committed first
        "stream_recovery_delay": 0.0,
        "ConsumerScheduler": Slices,
        "TableManager": _NoTables,
    }


async def _submit_all(stream: StreamT[Any], pipeline: Pipeline) -> None:
    if not isinstance(stream, Stream):
        raise FatalError("Faust handed over a stream without manual acknowledgement")
    async for event in stream.noack().events():
        await pipeline.submit(_records(event), event.ack)


def _records(event: EventT[Any]) -> list[Received]:
    message = event.message
    if not isinstance(message, SliceMessage):
        raise FatalError("Faust handed over a record that is no slice")
    topic, partition = message.topic, message.partition
    return [
        Received(
            topic,
            partition,
            record.offset,
            record.key,
            record.value,
            tuple(record.headers or ()),
            record.timestamp,
        )
        for record in message.records
    ]
