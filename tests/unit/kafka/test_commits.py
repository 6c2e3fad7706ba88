"""Which commits are sent, in which order, and what becomes of those that fail."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from workers.core.clock import ManualClock
from workers.core.deadlines import Deadline
from workers.core.errors import FatalError, UnreachableError
from workers.core.metrics import COMMITS, Metrics
from workers.core.records import Position, TopicPartition
from workers.kafka.commits import Committer, Offer
from workers.kafka.ownership import Ownership

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


class Client:
    """A consumer that notes commits; `refuse` names an error for the next ones."""

    def __init__(self) -> None:
        self.commits: list[dict[TopicPartition, Position]] = []
        self.sent: list[ClientPartition] = []
        self.refuse: int | None = None

    def commit(self, *, offsets: list[ClientPartition], asynchronous: bool) -> list[ClientPartition] | None:
        self.sent = offsets
        self.commits.append(
            {
                TopicPartition(item.topic, item.partition): Position(item.offset, item.metadata or "")
                for item in offsets
            }
        )
        if self.refuse is not None and not asynchronous:
            raise KafkaException(KafkaError(self.refuse))
        return None if asynchronous else offsets


class World:
    """A committer, its client and what is owned."""

    def __init__(self) -> None:
        self.client, self.ownership, self.metrics = Client(), Ownership(), Metrics()
        self.clock = ManualClock()
        self.committer = Committer("g", self.ownership, self.metrics, self.clock)
        self.ownership.assign([A, B])

    @property
    def consumer(self) -> Consumer:
        return cast("Consumer", self.client)

    def offers(self, positions: dict[TopicPartition, Position]) -> dict[TopicPartition, Offer]:
        epochs = self.ownership.epochs
        return {place: Offer(epochs[place], position) for place, position in positions.items()}

    def submit(self, positions: dict[TopicPartition, Position], deadline: Deadline | None = None) -> Any:
        return self.committer.submit(self.offers(positions), deadline or Deadline.after(10, self.clock))

    def pump_later(self) -> None:
        """Pump once the time for the next attempt has come."""
        self.clock.advance(0.05)
        self.committer.pump(self.consumer)

    def answer(self, code: int | None = None, partitions: Sequence[ClientPartition] | None = None) -> None:
        error = None if code is None else KafkaError(code)
        self.committer.on_commit(error, self.client.sent if partitions is None else partitions)

    def count(self, result: str) -> float:
        value = self.metrics.registry.get_sample_value(f"{COMMITS.name}", {"group": "g", "result": result})
        return value or 0.0


@pytest.fixture
def world() -> World:
    return World()


def test_one_commit_is_under_way_at_a_time_and_later_positions_win(world: World) -> None:
    first = world.submit({A: Position(1)})
    world.committer.pump(world.consumer)
    second, third = world.submit({A: Position(2), B: Position(5)}), world.submit({A: Position(3, "m")})
    world.committer.pump(world.consumer)
    assert world.client.commits == [{A: Position(1)}]
    world.answer()
    assert first.done()
    assert not second.done()
    world.committer.pump(world.consumer)
    world.answer()
    assert world.client.commits[1:] == [{A: Position(3, "m"), B: Position(5)}]
    assert second.result(0) is third.result(0) is None
    assert world.count("ok") == 3


def test_a_commit_of_an_earlier_assignment_is_dropped_though_the_partition_is_ours_again(
    world: World,
) -> None:
    late = world.submit({A: Position(9), B: Position(4)})
    world.ownership.drop([A])
    world.ownership.assign([A])
    world.committer.pump(world.consumer)
    world.answer()
    assert world.client.commits == [{B: Position(4)}]
    assert late.result(0) is None
    assert world.count("dropped") == 1


def test_with_nothing_ours_nothing_is_sent(world: World) -> None:
    late = world.submit({A: Position(9)})
    world.ownership.drop([A, B])
    world.committer.pump(world.consumer)
    assert world.client.commits == []
    assert late.result(0) is None


@pytest.mark.parametrize(
    "code",
    [KafkaError.ILLEGAL_GENERATION, KafkaError.FENCED_MEMBER_EPOCH, KafkaError.UNKNOWN_MEMBER_ID],
)
def test_a_commit_that_comes_too_late_for_the_group_is_dropped_and_counted(world: World, code: int) -> None:
    late = world.submit({A: Position(1)})
    world.committer.pump(world.consumer)
    world.answer(code)
    assert late.result(0) is None
    assert (world.count("dropped"), world.count("ok")) == (1, 0)


@pytest.mark.parametrize("code", [KafkaError.STALE_MEMBER_EPOCH, KafkaError.COORDINATOR_LOAD_IN_PROGRESS])
def test_what_may_pass_is_tried_again(world: World, code: int) -> None:
    waiting = world.submit({A: Position(1)})
    world.committer.pump(world.consumer)
    world.answer(code)
    world.committer.pump(world.consumer)
    assert len(world.client.commits) == 1  # not at once
    world.pump_later()
    world.answer()
    assert waiting.result(0) is None


def test_a_newer_position_replaces_the_one_that_waits_for_its_next_attempt(world: World) -> None:
    old = world.submit({A: Position(1)})
    world.committer.pump(world.consumer)
    world.answer(KafkaError.COORDINATOR_NOT_AVAILABLE)
    new = world.submit({A: Position(2)})
    world.pump_later()
    world.answer()
    assert world.client.commits[1] == {A: Position(2)}
    assert old.done()
    assert new.done()


def test_past_its_deadline_the_caller_hears_that_nobody_answers(world: World) -> None:
    waiting = world.submit({A: Position(1)}, Deadline.after(5, world.clock))
    world.committer.pump(world.consumer)
    world.clock.advance(6)
    world.answer(KafkaError._WAIT_COORD)
    with pytest.raises(UnreachableError, match="nothing is lost"):
        waiting.result(0)


def test_what_no_attempt_mends_is_fatal(world: World) -> None:
    waiting = world.submit({A: Position(1)})
    world.committer.pump(world.consumer)
    world.answer(KafkaError.GROUP_AUTHORIZATION_FAILED)
    with pytest.raises(FatalError):
        waiting.result(0)


def test_metadata_that_the_broker_refuses_is_left_out(world: World) -> None:
    waiting = world.submit({A: Position(1, "m" * 5000)})
    world.committer.pump(world.consumer)
    world.answer(KafkaError.OFFSET_METADATA_TOO_LARGE)
    world.pump_later()
    world.answer()
    assert world.client.commits[1] == {A: Position(1)}
    assert waiting.result(0) is None


def test_one_failed_partition_does_not_repeat_the_others(world: World) -> None:
    waiting = world.submit({A: Position(1), B: Position(2)})
    world.committer.pump(world.consumer)
    error = KafkaError(KafkaError.NOT_COORDINATOR)
    failed = cast("ClientPartition", SimpleNamespace(topic="t", partition=1, offset=2, error=error))
    world.answer(partitions=[ClientPartition("t", 0, 1), failed])
    world.pump_later()
    world.answer()
    assert world.client.commits[1] == {B: Position(2)}
    assert waiting.result(0) is None


def test_an_answer_to_somebody_elses_commit_is_no_answer(world: World) -> None:
    waiting = world.submit({A: Position(1)})
    world.committer.pump(world.consumer)
    world.answer(partitions=[ClientPartition("t", 0, 7)])
    assert not waiting.done()


def test_closing_drops_what_waits_and_what_comes_later(world: World) -> None:
    flying = world.submit({A: Position(1)})
    world.committer.pump(world.consumer)
    queued = world.submit({B: Position(1)})
    world.committer.close()
    assert flying.done()
    assert queued.done()
    assert world.submit({A: Position(2)}).done()


def test_a_caller_that_gave_up_before_is_not_committed_for(world: World) -> None:
    world.submit({A: Position(1)}).cancel()
    world.committer.pump(world.consumer)
    assert world.client.commits == []


def test_a_commit_inside_of_a_rebalance_is_over_when_it_returns(world: World) -> None:
    world.committer.commit_now(world.consumer, world.offers({A: Position(3)}), Deadline.after(1))
    assert world.client.commits == [{A: Position(3)}]
    assert world.count("ok") == 1


def test_a_commit_inside_of_a_rebalance_ends_at_its_deadline(world: World) -> None:
    world.client.refuse = KafkaError._WAIT_COORD
    with pytest.raises(UnreachableError):
        world.committer.commit_now(world.consumer, world.offers({A: Position(3)}), Deadline.after(0.1))
