"""The loop's side of a subscription, without the thread that polls."""

import asyncio
from collections.abc import Mapping
from threading import Event
from typing import Any, cast

from tests.kafka_worlds import RecordingListener
from tests.support import eventually
from workers.core.metrics import Metrics
from workers.core.records import Received, TopicPartition
from workers.kafka.consumer import KafkaSubscription
from workers.kafka.holding import ends_of
from workers.kafka.polling import PollThread

HERE = TopicPartition("t", 0)


class Thread:
    """Stands where the poll thread does, and polls nothing."""

    ends: Mapping[TopicPartition, tuple[int, int]] = {}

    def __init__(self, **_: object) -> None:
        self.finished = Event()
        self.stopped = False

    def start(self) -> None:
        """See `PollThread`."""

    def stop(self) -> None:
        """See `PollThread`."""
        self.stopped = True


async def started(listener: RecordingListener) -> tuple[KafkaSubscription, Thread]:
    subscription, thread = KafkaSubscription({}, "group", ["t"], Metrics()), Thread()
    subscription._make = cast("Any", lambda loop_side: cast("PollThread", thread))
    await subscription.start(listener)
    subscription.assigned({HERE: None}, {HERE: 1})
    await eventually(lambda: HERE in listener.owned)
    return subscription, thread


def feed(subscription: KafkaSubscription, *offsets: int) -> None:
    batch = [Received("t", 0, offset, None, b"", (), 0) for offset in offsets]
    subscription.records(batch, ends_of(batch))


class Broken(RecordingListener):
    """A listener with a bug."""

    def records(self, batch: object) -> None:
        """See `Listener`."""
        raise ValueError("a bug")


async def test_records_that_a_listener_drops_half_way_end_the_subscription_also_after_a_pause() -> None:
    """Those that come later would be committed past them."""
    listener = Broken()
    subscription, thread = await started(listener)
    subscription.pause([HERE])
    feed(subscription, 0, 1)
    await asyncio.sleep(0)
    subscription.resume([HERE])
    await eventually(lambda: bool(listener.failures))
    assert thread.stopped
    assert "a bug" in str(listener.failures[0])


async def test_a_revocation_that_nobody_waits_for_any_more_is_a_loss() -> None:
    listener = RecordingListener()
    subscription, _ = await started(listener)
    assert subscription.revoked([HERE]).cancel()
    await eventually(lambda: listener.losses == [[HERE]])
    assert listener.revocations == []
    assert subscription.positions() == {}


class Slow(RecordingListener):
    """Does not come to an end with what it has."""

    async def revoked(self, partitions: object) -> Any:
        """See `Listener`."""
        self.revocations.append([HERE])
        await asyncio.Event().wait()


async def test_a_revocation_that_is_given_up_half_way_is_a_loss() -> None:
    listener = Slow()
    subscription, _ = await started(listener)
    answer = subscription.revoked([HERE])
    await eventually(lambda: listener.revocations == [[HERE]])
    assert answer.cancel()
    await eventually(lambda: listener.losses == [[HERE]])
