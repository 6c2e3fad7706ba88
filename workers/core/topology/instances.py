"""The addresses that serve a target, and how they are reached."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from workers.core.topology.base import Secret, Strict
from workers.core.topology.values import Number, blank_is_none, parse_concurrency

Concurrency = Annotated[
    int | Literal["adaptive"],
    BeforeValidator(parse_concurrency),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "adaptive"}]}),
]


class Instance(Strict):
    """One address that serves a target. `api_key` is sent as a bearer token."""

    url: str
    weight: Number = Field(default=1, gt=0, le=1_000_000)
    concurrency: Concurrency = 64
    api_key: Annotated[Secret | None, BeforeValidator(blank_is_none)] = None


class Tls(Strict):
    """Whom to trust instead of the public authorities, and who we are where a backend asks."""

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
