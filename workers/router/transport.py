"""How Faust reads for the router: batches of our own subscription instead of single records of aiokafka.

Faust's transport is a port, of which its app asks little: this is that little. One event is a batch, so what Faust
costs an event (60 us) is paid once a batch, and acknowledging an event finishes its batch. Faust is told of a single
partition, through which everything comes: who owns which partitions is the business of `workers.router.reading`.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from faust.transport.base import Transport
from faust.types import TP
from faust.types.tuples import Message
from mode import Service, get_logger

from workers.router.reading import Batch, Reading

FAUST_LOGGER = get_logger("faust.relayfleet")
"""For our subclasses of Faust's services, which would else log its small talk under our own names."""


class BatchMessage(Message):
    """A Faust message that stands for a batch. It has no value of its own."""

    use_tracking = False

    def __init__(
        self, place: TP, batch: Batch, finished: Callable[[Batch], None], generation: int | None = None
    ) -> None:
        """`generation` must be the app's: Faust's streams pass over a message of another one."""
        super().__init__(
            topic=place.topic,
            partition=place.partition,
            offset=0,
            timestamp=0.0,
            timestamp_type=0,
            headers=None,
            key=None,
            value=None,
            checksum=None,
            tp=place,
            generation_id=generation,
        )
        self.batch = batch
        self._finished = finished

    def on_final_ack(self, consumer: object) -> bool:
        """The batch has reached its outcomes."""
        self.acked = True
        self._finished(self.batch)
        return True


class BatchConsumer(Service):
    """What Faust's app asks of a consumer, and no more."""

    logger = FAUST_LOGGER

    def __init__(
        self, app: Any, deliver: Callable[[Message], Awaitable[None]], reading: Reading, **options: Any
    ) -> None:
        """`deliver` takes a message to the streams, and waits where they are full."""
        self._app = app
        self._deliver = deliver
        self._reading = reading
        self._unacked_messages: set[Message] = set()  # Faust's streams look here
        self.unacked = self._unacked_messages
        super().__init__(**options)

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group; Faust says so once its agent has started."""
        (topic,) = topics
        self._place = TP(topic, 0)
        await self._app.topics.on_partitions_assigned({self._place})
        self._app.flow_control.resume()
        await self._reading.start()
        _ = self.add_future(self._feed())

    async def _feed(self) -> None:
        while not self.should_stop:
            batch = await self._reading.next()
            message = BatchMessage(
                self._place, batch, self._reading.finished, self._app.consumer_generation_id
            )
            await self._deliver(message)

    def assignment(self) -> set[TP]:
        """None that Faust would have to care for."""
        return set()

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        """Of tables, which there are none of."""

    def on_buffer_full(self, tp: TP) -> None:
        """A full stream makes `deliver` wait."""

    def on_buffer_drop(self, tp: TP) -> None:
        """See `on_buffer_full`."""


class BatchTransport(Transport):
    """What Faust's app makes its consumer with."""

    driver_version = "relayfleet"

    def __init__(self, app: Any, reading: Reading) -> None:
        super().__init__([], app)
        self._reading = reading

    def create_consumer(self, callback: Callable[[Message], Awaitable[None]], **options: Any) -> Any:
        """See `Transport`."""
        return BatchConsumer(self.app, callback, self._reading, loop=self.loop, beacon=options.get("beacon"))
