"""librdkafka's errors in our own words. Each function answers one question about an error."""

from confluent_kafka import KafkaError, KafkaException

from schemas.errors import ErrorClass, Stage
from workers.core.errors import FatalError, PermanentError, RelayError, UnreachableError, UsageError

# ruff: noqa: SLF001 - librdkafka's own codes have names that start with an underscore, and are public all the same

_TOO_LARGE = frozenset(
    {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_MSG_SIZE}
)
_BAD_RECORD = frozenset(
    {
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._INVALID_ARG,
    }
)
_UNREACHABLE = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._RESOLVE,
        KafkaError._WAIT_COORD,
        KafkaError._SSL,
        KafkaError._AUTHENTICATION,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.SASL_AUTHENTICATION_FAILED,
    }
)
_NOT_OURS = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._FENCED,
        KafkaError._STATE,
        KafkaError._DESTROY,
    }
)
_PASSING = frozenset(
    {
        # The member's epoch moved while the commit was under way; the next heartbeat brings the new one.
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError._PREV_IN_PROGRESS,
        KafkaError._RETRY,
    }
)
_HOPELESS = frozenset(
    {
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.INVALID_GROUP_ID,
        KafkaError.GROUP_MAX_SIZE_REACHED,
        KafkaError.UNRELEASED_INSTANCE_ID,
        KafkaError.UNSUPPORTED_ASSIGNOR,
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError._FATAL,
    }
)
_NO_PROTOCOL = frozenset(
    {KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION, KafkaError._NOT_IMPLEMENTED}
)


def kafka_error(error: KafkaException) -> KafkaError:
    """The error inside an exception."""
    inner = error.args[0]
    return inner if isinstance(inner, KafkaError) else KafkaError(KafkaError._FAIL, str(inner))


def is_unreachable(error: KafkaError) -> bool:
    """Nobody answers, or answers what needs a coordinator that isn't there."""
    return error.code() in _UNREACHABLE


def is_no_partition(error: KafkaError) -> bool:
    """The record names a partition that its topic does not have."""
    return error.code() == KafkaError._UNKNOWN_PARTITION


def is_passing(error: KafkaError) -> bool:
    """The same call may succeed a moment later."""
    return error.code() in _PASSING or is_unreachable(error) or error.retriable()


def is_lost_ownership(error: KafkaError) -> bool:
    """A commit came too late: the partitions are another member's, or gone."""
    return error.code() in _NOT_OURS


def is_hopeless(error: KafkaError) -> bool:
    """A consumer that meets this does not get better by polling on."""
    return error.fatal() or error.code() in _HOPELESS


def is_protocol_missing(error: KafkaError) -> bool:
    """The broker does not know the consumer group protocol of KIP-848."""
    if error.code() == KafkaError._FATAL:
        # The cause of a fatal error is only in its text.
        return KafkaError(KafkaError.UNSUPPORTED_VERSION).str() in error.str()
    return error.code() in _NO_PROTOCOL


def refused_record(error: KafkaError, topic: str, *, alone: bool) -> RelayError:
    """What a failed delivery means for the caller; `alone`: its list had this record only.

    In a longer list nobody can tell the caller which record it was, so that even an error of one record is fatal.
    """
    if alone and error.code() in _TOO_LARGE:
        return PermanentError(
            ErrorClass.TOO_LARGE, f"{topic} refused the record: {error.str()}", stage=Stage.PUBLISH
        )
    if alone and error.code() in _BAD_RECORD:
        return PermanentError(
            ErrorClass.INTERNAL, f"{topic} refused the record: {error.str()}", stage=Stage.PUBLISH
        )
    return FatalError(f"a record for {topic} was not delivered: {error.str()}{_advice(error)}")


def _advice(error: KafkaError) -> str:
    """What to do about a delivery error, where that is known."""
    if error.code() in _TOO_LARGE:
        return "; the topic takes less than the topology says: `relayfleet topology diff` shows it"
    if error.code() in {KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART}:
        return "; `relayfleet topology apply` creates missing topics"
    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return "; the user of kafka.security needs the right to write there"
    return ""


def unreachable(address: object, error: KafkaError | None = None) -> UnreachableError:
    """Nobody answered at `address`."""
    why = f" ({error.str()})" if error is not None else ""
    return UnreachableError(
        f"no Kafka broker answers at {address}{why}; check the address and kafka.security in topology.yaml, or start "
        "one with `relayfleet broker start`"
    )


def refused_settings(error: KafkaException) -> UsageError:
    """The client did not take its configuration."""
    return UsageError(
        f"the Kafka client refuses its settings: {kafka_error(error).str()}; see kafka in topology.yaml"
    )
