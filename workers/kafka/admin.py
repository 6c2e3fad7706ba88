"""The port `Admin` over confluent-kafka's admin client, its futures awaited."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as ClientPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    OffsetSpec,
    ResourceType,
    TopicMetadata,
)
from confluent_kafka.cimpl import NewPartitions, NewTopic

from workers.core.deadlines import Deadline
from workers.core.errors import RelayError, UnreachableError, UsageError
from workers.core.ports import ClusterInfo, TopicState
from workers.core.records import Position, TopicPartition
from workers.kafka.failures import is_passing, kafka_error, refused_settings, unreachable

_MOVING = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}
_GRACE = 2.0  # seconds after which a request that should have timed out is given up


class KafkaAdmin:
    """Looks and changes; every call answers within a few seconds or raises `UnreachableError`.

    What the broker refuses (a topic that exists already, a value it does not know, a missing right) is a `UsageError`.
    """

    def __init__(self, config: Mapping[str, object], timeout: float = 5.0) -> None:
        self._timeout = timeout  # seconds for one request
        self._address = config.get("bootstrap.servers")
        self._why: KafkaError | None = None
        self._config = config
        settings: dict[str, Any] = {**config, "error_cb": self._on_error, "socket.timeout.ms": 10_000}
        try:
            self._client = AdminClient(settings, logger=_silent())
        except KafkaException as error:
            raise refused_settings(error) from error

    async def cluster(self) -> ClusterInfo:
        """See `Admin`."""
        answer = await self._await(self._client.describe_cluster(request_timeout=self._timeout))
        nodes = answer.nodes or []
        return ClusterInfo(answer.cluster_id or "?", tuple(f"{node.host}:{node.port}" for node in nodes))

    async def topics(self, names: Sequence[str] | None = None) -> Mapping[str, TopicState]:
        """See `Admin`. Kafka's own topics, whose names begin with `__`, are only shown when asked for."""
        known = await self._known()
        # Asked for twice, a topic is described once, and the client can't read that.
        shown = [name for name in dict.fromkeys(known if names is None else names) if name in known]
        if names is None:
            shown = [name for name in shown if not name.startswith("__")]
        configs = await self._configs(shown)
        return {
            name: TopicState(
                name, len(known[name].partitions), _replication(known[name]), configs.get(name, {})
            )
            for name in shown
        }

    async def create(self, topics: Sequence[TopicState]) -> None:
        """See `Admin`."""
        wanted = [
            NewTopic(topic.name, topic.partitions, topic.replication, config=dict(topic.config))
            for topic in topics
        ]
        if wanted:
            answers = self._client.create_topics(
                wanted, request_timeout=self._timeout, operation_timeout=self._timeout
            )
            await self._await_all(answers)
            partitions = {topic.name: topic.partitions for topic in topics}
            await self._until(partial(self._has_partitions, partitions))

    async def grow(self, topic: str, partitions: int) -> None:
        """See `Admin`."""
        await self._await_all(
            self._client.create_partitions([NewPartitions(topic, partitions)], request_timeout=self._timeout)
        )
        await self._until(partial(self._has_partitions, {topic: partitions}))

    async def configure(self, topic: str, config: Mapping[str, str]) -> None:
        """See `Admin`."""
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        await self._await_all(
            self._client.incremental_alter_configs([resource], request_timeout=self._timeout)
        )
        await self._until(partial(self._has_settings, topic, config))

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, tuple[int, int]]:
        """See `Admin`. Raises `UsageError` for a topic that does not exist."""
        places = await self._places(topics)
        if not places:
            return {}
        first = await self._offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # the client's own gap
        end = await self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # the client's own gap
        return {place: (first[place], end[place]) for place in places}

    async def readable_ends(self, places: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """See `Admin`."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the client's own gap
        return await self._offsets(places, latest, IsolationLevel.READ_COMMITTED) if places else {}

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        """See `Admin`."""
        known = await self._known()
        wanted = TopicCollection([topic for topic in topics if topic in known])
        if not wanted.topic_names:
            return {}
        answers = await self._await_all(self._client.describe_topics(wanted, request_timeout=self._timeout))
        return {name: str(description.topic_id) for name, description in answers.items()}

    async def offsets_at(
        self, topics: Sequence[str], timestamp_ms: int | None
    ) -> Mapping[TopicPartition, tuple[int, int] | None]:
        """See `Admin`. Raises `UsageError` for a topic that does not exist."""
        spec = (
            OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]  # the client's own gap
            if timestamp_ms is None
            else OffsetSpec.for_timestamp(timestamp_ms)
        )
        places = await self._places(topics)
        if not places:
            return {}
        answers = await self._list({ClientPartition(*place): spec for place in places})
        return {
            TopicPartition(place.topic, place.partition): (info.offset, info.timestamp)
            if info.offset >= 0
            else None
            for place, info in answers.items()
        }

    async def delete_before(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See `Admin`."""
        wanted = [ClientPartition(*place, offset) for place, offset in offsets.items()]
        if wanted:
            answers = self._client.delete_records(
                wanted, request_timeout=self._timeout, operation_timeout=self._timeout
            )
            await self._await_all(answers)

    async def committed(self, group: str) -> Mapping[TopicPartition, Position]:
        """See `Admin`. A group that nobody knows stands nowhere: the answer is empty."""
        known = (await self._known()).items()
        places = [ClientPartition(name, number) for name, topic in known for number in topic.partitions]
        try:
            found = await asyncio.to_thread(self._positions, group, places) if places else []
        except KafkaException as error:
            raise self._translated(kafka_error(error)) from error
        return {
            TopicPartition(item.topic, item.partition): Position(item.offset, item.metadata or "")
            for item in found
            if item.offset >= 0
        }

    def _positions(self, group: str, places: list[ClientPartition]) -> list[ClientPartition]:
        """Asked as a consumer that joins nothing.

        The admin client's own request ends the process where the group's coordinator starts or moves:
        https://github.com/confluentinc/librdkafka/issues/5040.
        """
        settings: dict[str, Any] = {**self._config, "group.id": group, "enable.auto.commit": False}
        consumer = Consumer(settings, logger=_silent())
        deadline = Deadline.after(self._timeout)
        try:
            while True:
                try:
                    return consumer.committed(places, timeout=self._timeout)
                except KafkaException as error:
                    if deadline.expired or not is_passing(kafka_error(error)):
                        raise
                consumer.poll(0.05)  # the coordinator is being looked for
        finally:
            consumer.close()

    async def close(self) -> None:
        """See `Admin`. The client lets go when it is collected; nothing is left to wait for."""

    async def _known(self) -> Mapping[str, TopicMetadata]:
        """All topics; asking for one by name could create it."""
        try:
            answer = await asyncio.to_thread(self._client.list_topics, timeout=self._timeout)
        except KafkaException as error:
            raise self._translated(kafka_error(error)) from error
        return {name: topic for name, topic in answer.topics.items() if topic.error is None}

    async def _until(self, shown: Callable[[], Awaitable[bool]]) -> None:
        """Brokers learn a moment later what the controller has done; one that never does holds nobody up."""
        deadline = Deadline.after(self._timeout)
        while not await shown() and not deadline.expired:  # noqa: ASYNC110 - nobody calls us
            await asyncio.sleep(0.02)

    async def _has_partitions(self, partitions: Mapping[str, int]) -> bool:
        known = await self._known()
        return all(name in known and len(known[name].partitions) >= n for name, n in partitions.items())

    async def _has_settings(self, topic: str, config: Mapping[str, str]) -> bool:
        return config.items() <= (await self._configs([topic])).get(topic, {}).items()

    async def _places(self, topics: Sequence[str]) -> list[TopicPartition]:
        """Every partition of these topics. Raises `UsageError` for one that does not exist."""
        known = await self._known()
        missing = sorted(set(topics) - set(known))
        if missing:
            raise UsageError(
                f"topics do not exist: {', '.join(missing)}; `relayfleet topology apply` creates them"
            )
        return [TopicPartition(topic, number) for topic in topics for number in known[topic].partitions]

    async def _configs(self, names: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """What was set on the topics themselves."""
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = await self._await_all(
            self._client.describe_configs(resources, request_timeout=self._timeout),
            ignore={KafkaError.UNKNOWN_TOPIC_OR_PART},  # deleted since
        )
        return {
            resource.name: {
                name: entry.value
                for name, entry in entries.items()
                if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value and entry.value is not None
            }
            for resource, entries in answers.items()
        }

    async def _offsets(
        self,
        places: Iterable[TopicPartition],
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    ) -> Mapping[TopicPartition, int]:
        answers = await self._list({ClientPartition(*place): spec for place in places}, isolation)
        return {TopicPartition(place.topic, place.partition): info.offset for place, info in answers.items()}

    async def _list(
        self,
        wanted: Mapping[ClientPartition, OffsetSpec],
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    ) -> dict[Any, Any]:
        """The offsets asked for; a partition that is new, or whose leader moves, is asked again."""
        deadline = Deadline.after(self._timeout)
        while True:
            try:
                return await self._await_all(
                    self._client.list_offsets(
                        dict(wanted), isolation_level=isolation, request_timeout=self._timeout
                    )
                )
            except UnreachableError as error:
                if deadline.expired or not _leader_moves(error):
                    raise
            await asyncio.sleep(0.05)

    async def _await_all(
        self, answers: Mapping[Any, "Future[Any]"], ignore: Iterable[int] = ()
    ) -> dict[Any, Any]:
        """Every answer by its key; the first that failed is raised, once all are in."""
        found: dict[Any, Any] = {}
        failure: RelayError | None = None
        for key, answer in answers.items():
            try:
                found[key] = await self._await(answer, ignore)
            except RelayError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return found

    async def _await(self, answer: "Future[Any]", ignore: Iterable[int] = ()) -> Any:
        try:
            return await asyncio.wait_for(asyncio.wrap_future(answer), self._timeout + _GRACE)
        except TimeoutError as error:
            raise self._translated(KafkaError(KafkaError._TIMED_OUT)) from error  # noqa: SLF001 - its public name
        except KafkaException as error:
            failure = kafka_error(error)
            if failure.code() in ignore:
                return None
            raise self._translated(failure) from error

    def _translated(self, error: KafkaError) -> RelayError:
        """No answer, or a refusal. The client's own reason for no answer is better than `timed out`."""
        if is_passing(error):
            self._client.poll(0)
            return unreachable(self._address, self._why or error)
        return UsageError(f"Kafka at {self._address} refuses this: {error.str()}")

    def _on_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self._why is None:  # noqa: SLF001 - its public name
            self._why = error


def _leader_moves(error: UnreachableError) -> bool:
    cause = error.__cause__
    return isinstance(cause, KafkaException) and kafka_error(cause).code() in _MOVING


def _replication(topic: TopicMetadata) -> int:
    return min((len(partition.replicas) for partition in topic.partitions.values()), default=0)


def _silent() -> logging.Logger:
    """For a client whose errors are raised: its log lines would only say them twice."""
    logger = logging.getLogger("librdkafka.admin")
    logger.setLevel(logging.CRITICAL + 1)
    return logger
