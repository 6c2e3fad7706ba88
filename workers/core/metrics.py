"""Every metric of the fleet, in one table; no ids, prompts or users in labels.

Look a child up once (`metrics.counter(RECEIVED, "router")`) and keep it: a look-up a message is too slow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge

from workers.core import scraped
from workers.core.figures import Count, Durations

LATENCY_BUCKETS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
)

_Kind = TypeVar("_Kind", Counter, Gauge)


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric: its name with unit, one sentence, its label names."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Prometheus's own rules for names tell it; an age is what it is at the moment."""
        if self.name.endswith("_age_seconds"):
            return "gauge"
        suffixes = {"total": "counter", "seconds": "histogram"}
        return suffixes.get(self.name.rpartition("_")[2], "gauge")


RECEIVED = Definition("relayfleet_received_total", "Records consumed.", ("process", "topic"))
ROUTED = Definition("relayfleet_routed_total", "Messages published to a target's topic.", ("target", "rule"))
ATTEMPTS = Definition(
    "relayfleet_attempts_total",
    "Calls of a backend, by class of failure or `ok`.",
    ("target", "instance", "class"),
)
ANSWERED = Definition(
    "relayfleet_answered_total",
    "Responses published, also the errors of messages that no target took.",
    ("target", "status"),
)
DEAD_LETTERED = Definition(
    "relayfleet_dead_lettered_total", "Dead letters published.", ("process", "class", "stage")
)
TOKENS = Definition(
    "relayfleet_tokens_total", "Tokens that attempts cost, also those that failed.", ("target", "type")
)
COST = Definition(
    "relayfleet_cost_total",
    "Money that attempts cost, also those that failed, by the topology's prices.",
    ("target", "currency"),
)
IN_FLIGHT = Definition(
    "relayfleet_in_flight", "Messages taken from Kafka and not finished.", ("process", "topic")
)
CALLS_IN_FLIGHT = Definition(
    "relayfleet_calls_in_flight", "Calls of a backend under way.", ("target", "instance")
)
CALL_LIMIT = Definition(
    "relayfleet_call_limit",
    "Calls at once that an instance is given, as adapted or while it returns.",
    ("target", "instance"),
)
BREAKER_STATE = Definition(
    "relayfleet_breaker_state", "Of an instance: 0 closed, 1 half-open, 2 open.", ("target", "instance")
)
BREAKER_MOVES = Definition(
    "relayfleet_breaker_moves_total",
    "Moves of a breaker, by the state it moved to.",
    ("target", "instance", "state"),
)
VALVE_STATE = Definition(
    "relayfleet_valve_state", "Of a target's safety valve: 0 flowing, 1 probing, 2 stopped.", ("target",)
)
REROUTED = Definition(
    "relayfleet_rerouted_total", "Messages handed on to a fallback target.", ("target", "fallback")
)
SHADOWS = Definition(
    "relayfleet_shadows_total",
    "Copies that a target got, by what became of them: ok, error, dropped.",
    ("target", "result"),
)
LAG = Definition(
    "relayfleet_lag",
    "Records still to be taken from Kafka; of the router: still to be finished.",
    ("group", "topic", "partition"),
)
PAUSED = Definition("relayfleet_paused_partitions", "Partitions paused by back-pressure.", ("topic",))
STAGE_SECONDS = Definition(
    "relayfleet_stage_seconds",
    "Time in a stage, of a worker: queued, model, total; of the router, which has no target: publish.",
    ("target", "stage"),
)
FIRST_TOKEN = Definition(
    "relayfleet_first_token_seconds",
    "From the start of a call to the first piece of its answer.",
    ("target",),
)
CHUNKS = Definition("relayfleet_chunks_total", "Pieces of streamed answers published.", ("target",))
DELIVERY_FAILURES = Definition(
    "relayfleet_delivery_failures_total", "Records that Kafka refused for good.", ("topic",)
)
EVENTS_DROPPED = Definition(
    "relayfleet_log_events_dropped_total",
    "Records that may be lost and were: events for `fleet_logs`, shadows, the fleet's state.",
)
CALLS_SAVED = Definition(
    "relayfleet_calls_saved_total", "Repeated messages answered from the recorded outcome.", ("target",)
)
CACHE = Definition(
    "relayfleet_cache_total",
    "Questions that a cache was asked, by result: exact, semantic, missed, bypassed.",
    ("target", "result"),
)
LIMITED = Definition(
    "relayfleet_limited_total",
    "Messages that a limit or budget put off (waited) or turned away (refused), by what was used up.",
    ("target", "scope", "kind", "result"),
)
STORE_FAILURES = Definition(
    "relayfleet_store_failures_total", "Times that the store of outcomes did not answer.", ("target",)
)
SESSION_FAILURES = Definition(
    "relayfleet_session_store_failures_total",
    "Times that the store of conversations did not answer.",
    ("target",),
)
COMMITS = Definition(
    "relayfleet_commits_total",
    "Positions committed, by result: ok, dropped (no longer ours), failed.",
    ("group", "result"),
)

TOPOLOGY = Definition(
    "relayfleet_topology_info", "1 for the version in use, 0 for those before it.", ("version",)
)
TOPOLOGY_BEHIND = Definition(
    "relayfleet_topology_behind",
    "1 while the file says something else than what is in use: refused, waiting for something, or for a restart.",
    ("why",),
)
TOPOLOGY_CHANGES = Definition(
    "relayfleet_topology_changes_total",
    "Changes of the topology file, by result: applied, refused.",
    ("result",),
)

GATEWAY_REQUESTS = Definition(
    "relayfleet_gateway_requests_total", "Requests of clients, by result: taken, refused.", ("result",)
)
GATEWAY_ANSWERS = Definition(
    "relayfleet_gateway_answers_total",
    "Answers that came for gateways' requests, by whether somebody waited here: waited_for, kept.",
    ("how",),
)
GATEWAY_WEBSOCKETS = Definition("relayfleet_gateway_websockets", "WebSockets that are open.")
GATEWAY_WAITING = Definition("relayfleet_gateway_waiting", "Requests that a client waits for.")
GATEWAY_RESPONSES = Definition(
    "relayfleet_gateway_responses_total",
    "What clients were answered, by protocol and its status.",
    ("protocol", "status"),
)
GATEWAY_SECONDS = Definition(
    "relayfleet_gateway_answer_seconds", "From a client's request to its whole answer.", ("protocol",)
)

DLQ_DEPTH = Definition("relayfleet_dead_letters", "Records on a watched dead-letter topic.", ("topic",))
DLQ_OLDEST = Definition(
    "relayfleet_dead_letters_oldest_age_seconds", "Age of the oldest record on a watched topic.", ("topic",)
)
DLQ_LAST_HOUR = Definition(
    "relayfleet_dead_letters_last_hour", "Records that came to a watched topic in the last hour.", ("topic",)
)
DLQ_NEW_FINGERPRINTS = Definition(
    "relayfleet_dead_letters_new_fingerprints_total",
    "Kinds of errors that a watched topic had never shown before.",
    ("topic",),
)


class Metrics:
    """The metrics of one process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._families: dict[str, Counter | Gauge] = {}
        self._figures: dict[str, scraped.Family[Any]] = {}

    def counter(self, definition: Definition, *labels: str) -> Counter:
        """A counter's child for these label values, in the definition's order. Any thread may count."""
        return self._child(Counter, definition, labels)

    def gauge(self, definition: Definition, *labels: str) -> Gauge:
        """A gauge's child for these label values."""
        return self._child(Gauge, definition, labels)

    def count(self, definition: Definition, *labels: str) -> Count:
        """A counter's child for what happens with every message: cheap, and for one thread alone."""
        return self._figure(_COUNTS, definition, labels)

    def histogram(self, definition: Definition, *labels: str) -> Durations:
        """A histogram's child for these label values, in seconds. For one thread alone."""
        return self._figure(_DURATIONS, definition, labels)

    def _child(self, make: Callable[..., _Kind], definition: Definition, labels: tuple[str, ...]) -> _Kind:
        family = self._families.get(definition.name)
        if family is None:
            family = make(definition.name, definition.help, definition.labels, registry=self.registry)
            self._families[definition.name] = family
        return cast("_Kind", family.labels(*labels) if definition.labels else family)

    def _figure(
        self, kind: scraped.Kind[scraped.Figure], definition: Definition, labels: tuple[str, ...]
    ) -> scraped.Figure:
        family: scraped.Family[scraped.Figure] | None = self._figures.get(definition.name)
        if family is None:
            family = scraped.Family(kind, definition.name, definition.help, definition.labels)
            self._figures[definition.name] = family
            self.registry.register(family)
        return family.of(labels)


_COUNTS = scraped.counts()
_DURATIONS = scraped.durations(LATENCY_BUCKETS)
