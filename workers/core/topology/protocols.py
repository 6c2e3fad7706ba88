"""What topology.yaml says about targets that speak HTTP, WebSocket, gRPC or Kafka; docs/targets.md shows each."""

from typing import Any, Literal

from pydantic import Field

from schemas.errors import ErrorClass
from workers.core.topology.base import Secret, Strict, Text, TextList
from workers.core.topology.instances import Instance, Tls
from workers.core.topology.values import Count

WHOLE = "{envelope}"
"""The template of a body that is the request envelope as it came."""


class AnswerPaths(Strict):
    """Where the parts of an answer stand, as JSONPath. With `format: text` the whole answer is the text.

    `error`: where an answer says that it is none; `errors`: the class of such an error, or of an HTTP status.
    """

    format: Literal["json", "text"] = "json"
    text: Text = "$"
    model: Text | None = None
    finish_reason: Text | None = None
    prompt_tokens: Text | None = None
    completion_tokens: Text | None = None
    error: Text | None = None
    errors: dict[str, ErrorClass] = Field(default_factory=dict)


class StreamPaths(Strict):
    """How a backend gives its answer in pieces: where a piece's text stands, and how the last message is known.

    `add` goes into the body where pieces are asked for.
    """

    text: Text
    done: Text | None = None
    add: dict[str, Any] = Field(default_factory=dict)


class OAuth2(Strict):
    """Client credentials (RFC 6749, 4.4). The token is kept until shortly before it expires."""

    token_url: str
    client_id: str
    client_secret: Secret
    scope: Text | None = None
    audience: Text | None = None
    credentials: Literal["basic", "body"] = "basic"


class HttpSettings(Strict):
    """A service with an HTTP interface of its own. Templates take values from the envelope: `{payload.text}`."""

    instances: tuple[Instance, ...] = Field(min_length=1)
    method: Literal["GET", "POST", "PUT", "PATCH"] = "POST"
    path: str = ""  # a template, added to the instance's address
    query: dict[str, str] = Field(default_factory=dict)  # templates
    headers: dict[str, str] = Field(default_factory=dict)
    secret_headers: dict[str, Secret] = Field(default_factory=dict)
    pass_headers: TextList = ()  # headers of the record that go along
    oauth2: OAuth2 | None = None
    body: Any = WHOLE  # a template of JSON
    answer: AnswerPaths = AnswerPaths()
    stream: StreamPaths | None = None  # server-sent events


class WebSocketSettings(Strict):
    """A service that answers JSON messages on long-lived connections, matched by an id."""

    instances: tuple[Instance, ...] = Field(min_length=1)
    connections: Count = Field(default=2, ge=1, le=1000)  # to each instance
    headers: dict[str, str] = Field(default_factory=dict)
    secret_headers: dict[str, Secret] = Field(default_factory=dict)
    subprotocol: Text | None = None
    tls: Tls = Tls()
    body: Any = WHOLE
    request_id: Text = "id"  # the field of a request that holds its id
    reply_id: Text = "$.id"
    answer: AnswerPaths = AnswerPaths(text="$.text", error="$.error")
    stream: StreamPaths | None = None


class GrpcSettings(Strict):
    """Another MessageRouter (schemas/relayfleet.proto)."""

    instances: tuple[Instance, ...] = Field(min_length=1)
    connections: Count = Field(default=2, ge=1, le=100)  # HTTP/2 connections to each instance
    metadata: dict[str, str] = Field(default_factory=dict)
    secret_metadata: dict[str, Secret] = Field(default_factory=dict)
    tls: Tls = Tls()


class KafkaSettings(Strict):
    """A pair of topics, of another cluster or of this one. Replies are matched by a header that they give back."""

    requests: Text
    responses: Text
    correlation_header: Text = "correlation-id"
    reply_topic_header: Text | None = None  # carries the name of `responses`, for services that ask where to
    body: Any = WHOLE
    answer: AnswerPaths = AnswerPaths(
        text="$.payload.text",
        model="$.payload.model",
        finish_reason="$.payload.finish_reason",
        prompt_tokens="$.payload.usage.prompt_tokens",
        completion_tokens="$.payload.usage.completion_tokens",
        error="$.payload.error.code",
    )
    concurrency: Count = Field(default=64, ge=1, le=10_000)
