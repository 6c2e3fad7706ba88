"""The Faust app: one agent, no tables, nothing bound, nothing stored, nothing created.

Faust acknowledges an event whose agent raised (its issues 527 and 315), so no exception leaves the agent: any stops the
process before the next acknowledgement. It also loses events where an agent's concurrency is above one (606).
"""

from collections.abc import Callable, Iterable
from typing import Any

import faust
from faust.app.base import BootStrategy
from faust.streams import Stream
from faust.tables import TableManager
from faust.types import StreamT
from mode import ServiceT

from workers.core.errors import FatalError
from workers.router.pipeline import Pipeline
from workers.router.reading import Reading
from workers.router.transport import FAUST_LOGGER, BatchMessage, BatchTransport

BATCHES_QUEUED = 4


class _Boot(BootStrategy):
    """Records are written by our own publisher."""

    enable_kafka_producer = False


class _NoTables(TableManager):
    """Faust waits a second at start for tables to be registered; there are none."""

    logger = FAUST_LOGGER

    async def on_start(self) -> None:
        """Ready at once."""
        await self._update_channels()


class RouterApp(faust.App):
    """A Faust app that stores nothing."""

    logger = FAUST_LOGGER
    BootStrategy = _Boot

    def _create_directories(self) -> None:
        """No data directory: there are no tables."""

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """Without Faust's monitor, which keeps statistics of each event that nobody reads."""
        services = super().on_init_dependencies()
        self.sensors.remove(self.monitor)
        return services


def build_app(
    group: str, topic: str, reading: Reading, pipeline: Pipeline, failed: Callable[[BaseException], None]
) -> RouterApp:
    """The app, not started. `failed` gets whatever went wrong in the agent and must stop the process."""
    app = RouterApp(group, **_OPTIONS)
    app.transport = BatchTransport(app, reading)

    async def route(stream: StreamT[Any]) -> None:
        try:
            await _submit_all(stream, pipeline)
        except Exception as error:  # noqa: BLE001 - Faust would acknowledge the event and go on
            failed(error)

    requests = app.topic(
        topic, key_serializer="raw", value_serializer="raw", value_type=bytes, allow_empty=True
    )
    agent = app.agent(requests, name="route", concurrency=1)(route)
    if agent.concurrency != 1:
        raise FatalError("the router's agent must have concurrency 1: batches would overtake each other")
    return app


_OPTIONS: dict[str, Any] = {
    "autodiscover": False,
    "store": "memory://",
    "web_enabled": False,
    "topic_allow_declare": False,  # `relayfleet topology apply` creates topics
    "topic_disable_leader": True,
    "processing_guarantee": "at_least_once",
    "stream_buffer_maxsize": BATCHES_QUEUED,
    "TableManager": _NoTables,
}


async def _submit_all(stream: StreamT[Any], pipeline: Pipeline) -> None:
    if not isinstance(stream, Stream):
        raise FatalError("Faust handed over a stream without manual acknowledgement")
    async for event in stream.noack().events():
        message = event.message
        if not isinstance(message, BatchMessage):
            raise FatalError("Faust handed over a message that is no batch")
        await pipeline.submit(message.batch.records, event.ack)
