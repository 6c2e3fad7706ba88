"""The typed form of topology.yaml. Field names are the file's own; times are seconds, sizes bytes."""

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
)

from workers.core.topology.base import Secret, Strict, Text
from workers.core.topology.caching import Cache
from workers.core.topology.conversation import Conversation
from workers.core.topology.fallback import Fallback, Fallbacks
from workers.core.topology.gateway import Gateway
from workers.core.topology.instances import Instance as Instance
from workers.core.topology.limits import Budget, Limits
from workers.core.topology.pricing import Currency, Price
from workers.core.topology.protocols import GrpcSettings, HttpSettings, KafkaSettings, WebSocketSettings
from workers.core.topology.routing import Intents, Route
from workers.core.topology.secrets import masked_dsn
from workers.core.topology.tenants import Tenants
from workers.core.topology.values import (
    Bytes,
    Count,
    Number,
    Seconds,
    blank_is_none,
)

Dsn = Annotated[
    SecretStr,
    PlainSerializer(lambda dsn: masked_dsn(dsn.get_secret_value()), when_used="json", return_type=str),
]
"""When dumped as JSON, the password and the options' values are masked."""
Partitions = Annotated[Count, Field(ge=1, le=10_000)]
Replication = Annotated[Count, Field(ge=1, le=99)]


class Security(Strict):
    """How the fleet proves itself to Kafka."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    username: str | None = None
    password: Secret | None = None
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    key_password: Secret | None = None


class Kafka(Strict):
    """Where Kafka is. `embedded` is the broker of `relayfleet up`."""

    bootstrap: str = "embedded"
    security: Security = Security()


class TopicSettings(Strict):
    """What differs from the defaults for one topic; None takes the default."""

    name: str | None = None
    partitions: Partitions | None = None
    replication: Replication | None = None
    retention: Seconds | None = Field(default=None, gt=0)
    max_message_bytes: Bytes | None = Field(default=None, gt=0)


class TopicDefaults(Strict):
    """What every topic has unless it says otherwise. Chunks, logs and state are kept shorter, dead letters longer."""

    partitions: Partitions = 4
    replication: Replication = 1
    retention: Seconds = Field(default=7 * 86400, gt=0)
    max_message_bytes: Bytes = Field(default=1_048_588, gt=0)


class Topics(Strict):
    """The fleet's topics; a target's own topics take `requests`' settings unless the target has `topic`."""

    defaults: TopicDefaults = TopicDefaults()
    requests: TopicSettings = Field(default=TopicSettings(), alias="model_requests")
    responses: TopicSettings = Field(default=TopicSettings(), alias="model_responses")
    chunks: TopicSettings = Field(default=TopicSettings(), alias="model_chunks")
    dead_letters: TopicSettings = Field(default=TopicSettings(), alias="dlq.model_requests")
    ledger: TopicSettings = Field(default=TopicSettings(), alias="dead_letter_ledger")
    logs: TopicSettings = Field(default=TopicSettings(), alias="fleet_logs")
    shadow: TopicSettings = Field(default=TopicSettings(), alias="model_shadow")
    state: TopicSettings = Field(default=TopicSettings(), alias="fleet_state")


class Retry(Strict):
    """How often and when to try again; the wait doubles from `initial` and is drawn with `jitter`."""

    attempts: Count = Field(default=5, ge=1, le=100)
    initial: Seconds = Field(default=1.0, gt=0)
    multiplier: Number = Field(default=2.0, ge=1, le=100)
    max: Seconds = Field(default=60.0, gt=0)
    jitter: Literal["full", "none"] = "full"
    hold_up_to: Seconds = Field(default=8.0, ge=0)


class Breaker(Strict):
    """When to stop calling an instance, and what the target does when none is left."""

    error_rate: Number = Field(default=0.5, gt=0, le=1)
    slow_call: Seconds | None = Field(default=None, gt=0)
    slow_rate: Number = Field(default=0.8, gt=0, le=1)
    window: Seconds = Field(default=10.0, gt=0)
    min_calls: Count = Field(default=20, ge=1, le=100_000)
    open_for: Seconds = Field(default=15.0, gt=0)
    probes: Count = Field(default=3, ge=1, le=1000)
    when_open: Literal["pause", "fallback", "reject"] = "pause"


class Valve(Strict):
    """When a target stops consuming because too much of it becomes dead letters, and how it tries again."""

    ratio: Number = Field(default=0.5, gt=0, le=1)
    window: Seconds = Field(default=60.0, gt=0)
    min_messages: Count = Field(default=100, ge=1, le=1_000_000)
    run: Count | None = Field(default=None, ge=1, le=1_000_000)  # so many dead letters in a row
    stop_for: Seconds = Field(default=30.0, gt=0)
    probes: Count = Field(default=3, ge=1, le=1000)


class TargetBase(Strict):
    """What every target has, whatever its type."""

    timeout: Seconds = Field(default=30.0, gt=0)
    expires_after: Seconds | None = Field(default=None, gt=0)
    ordering: Literal["none", "key"] = "none"
    balance: Literal["p2c", "least_inflight", "session"] = "p2c"
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    valve: Valve = Valve()
    fallback: Fallbacks = Field(default_factory=Fallback)
    cache: Cache | None = None
    price: Price | None = None
    limits: Limits | None = None
    budget: Budget | None = None
    context_length: Count | None = Field(default=None, ge=1)  # tokens, of prompt and answer together
    topic: TopicSettings = TopicSettings()


class OpenAITarget(TargetBase):
    """An OpenAI-compatible chat completions API, with one or more instances."""

    type: Literal["openai"]
    instances: tuple[Instance, ...] = Field(min_length=1)
    model: Annotated[str | None, BeforeValidator(blank_is_none)] = None  # sent when the request names none
    conversation: Conversation | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)  # defaults under the request's own


class ParameterSource(Strict):
    """Where a query parameter comes from: a pattern over the text (its first group, or all of it), or a context field."""

    pattern: Text | None = None
    context: Text | None = None


class SqlTarget(TargetBase):
    """One query against a database; parameters are always bound."""

    type: Literal["sql"]
    dsn: Dsn
    query: Text
    parameters: dict[str, ParameterSource] = Field(default_factory=dict)
    answer: Text
    not_found: str | None = None
    concurrency: Count = Field(default=16, ge=1, le=10_000)


class HttpTarget(HttpSettings, TargetBase):
    """A service with an HTTP interface of its own."""

    type: Literal["http"]


class WebSocketTarget(WebSocketSettings, TargetBase):
    """A service that answers on WebSocket connections."""

    type: Literal["websocket"]


class GrpcTarget(GrpcSettings, TargetBase):
    """Another MessageRouter."""

    type: Literal["grpc"]


class KafkaTarget(KafkaSettings, TargetBase):
    """A pair of topics of another cluster."""

    type: Literal["kafka"]
    kafka: Kafka


Target = Annotated[
    OpenAITarget | HttpTarget | WebSocketTarget | GrpcTarget | SqlTarget | KafkaTarget,
    Field(discriminator="type"),
]


class Stores(Strict):
    """What the workers of a fleet share beside Kafka. Without `redis` a worker remembers by itself, in memory."""

    redis: Annotated[Dsn | None, BeforeValidator(blank_is_none)] = None


class Once(Strict):
    """How a repeated message is recognised and answered without a second call.

    Answers are kept for `window`; while a message is worked on nobody else is, and a crashed worker's claim ends
    after `lease`. With the store down the fleet goes on, and may call twice, or waits.
    """

    window: Seconds = Field(default=86_400.0, gt=0)
    lease: Seconds = Field(default=10.0, ge=1)
    when_store_down: Literal["continue", "pause"] = "continue"


class Topology(Strict):
    """A whole deployment."""

    version: Literal[1]
    currency: Currency = "USD"  # of every price and budget
    kafka: Kafka = Kafka()
    stores: Stores = Stores()
    once: Once = Once()
    topics: Topics = Topics()
    intents: Intents = Field(default_factory=dict)
    routes: tuple[Route, ...] = Field(min_length=1)
    targets: dict[str, Target] = Field(min_length=1)
    gateway: Gateway = Gateway()
    tenants: Tenants = Field(default_factory=dict)
