"""The typed form of `gateway`: where it listens, whom it lets in, and what it takes at most."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from workers.core.topology.base import Strict, Text, TextList
from workers.core.topology.values import Bytes, Count, Seconds
from workers.core.topology.websocket import WebSockets

Port = Annotated[Count, Field(ge=0, le=65_535)]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


def jwks_place(value: str) -> str:
    """Refuse what can't hold the keys: they decide who gets in."""
    if "://" in value and not value.startswith("https://"):
        raise ValueError("must be a file, or an https:// address")
    return value


class Tls(Strict):
    """The gateway's certificate. With `client_ca_file` whoever comes needs a certificate of that authority."""

    certificate_file: Text
    key_file: Text
    client_ca_file: Text | None = None


class Jwt(Strict):
    """Bearer tokens. `jwks` is a file or an https address; `tenant_claim` names the claim that holds the tenant."""

    jwks: Annotated[Text, AfterValidator(jwks_place)]
    issuer: Text
    audience: Text
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256", "ES256")
    tenant_claim: Text = "tenant"
    leeway: Seconds = Field(default=30.0, ge=0, le=300)
    refresh: Seconds = Field(default=300.0, ge=10)  # how long keys from an address are used


class Limits(Strict):
    """What one request may be, and how much may be under way. What is more is refused before it costs memory.

    `text` counts characters, `depth` levels of JSON. `in_flight` are requests that somebody waits for,
    `connections` those of all protocols together.
    """

    body: Bytes = Field(default=900_000, ge=1)
    text: Count = Field(default=200_000, ge=1)
    depth: Count = Field(default=32, ge=1, le=100)
    headers: Bytes = Field(default=16_384, ge=1024, le=65_536)
    header_count: Count = Field(default=64, ge=8, le=1000)
    in_flight: Count = Field(default=4000, ge=1, le=100_000)
    in_flight_per_client: Count = Field(default=2000, ge=1, le=100_000)
    connections: Count = Field(default=5000, ge=1, le=100_000)
    stream_buffer: Bytes = Field(default=1_048_576, ge=1024)  # of pieces that a slow reader has not taken


class Answers(Strict):
    """How long answers are found under their id, and how much of them is kept: the oldest go first."""

    keep: Seconds = Field(default=3600.0, ge=1)
    size: Bytes = Field(default=134_217_728, ge=1_048_576)


class Cors(Strict):
    """Which web pages of other origins may call. None, unless they are named."""

    origins: TextList = ()


class Gateway(Strict):
    """How clients take part without knowing Kafka.

    `host` None is loopback, or what RELAYFLEET_LISTEN says; `hosts` are further names under which clients call it.
    `wait` is how long an answer is waited for before the client gets an id instead; `longest_wait` bounds what it may
    ask for. `confirm` bounds the wait for the broker.
    """

    host: Text | None = None
    hosts: TextList = ()
    port: Port = 8080
    grpc_port: Port = 50_051
    wait: Seconds = Field(default=30.0, ge=0)
    longest_wait: Seconds = Field(default=300.0, ge=0)
    confirm: Seconds = Field(default=2.0, gt=0, le=30)
    idle: Seconds = Field(default=60.0, gt=0)  # before a connection without a request is closed
    tls: Tls | None = None
    jwt: Jwt | None = None
    limits: Limits = Limits()
    answers: Answers = Answers()
    cors: Cors = Cors()
    websocket: WebSockets = WebSockets()
