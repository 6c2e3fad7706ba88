"""The typed form of `gateway.websocket`: bounds of the connections that stay open."""

from pydantic import Field

from workers.core.topology.base import Strict
from workers.core.topology.values import Count, Seconds


class WebSockets(Strict):
    """A connection on which nothing was asked and nothing is awaited for `idle` is closed, one that takes nothing for
    `stall` dropped.

    `in_flight` bounds the requests of one connection, `per_client` the connections of one client.
    """

    idle: Seconds = Field(default=300.0, gt=0)
    stall: Seconds = Field(default=10.0, gt=0)
    in_flight: Count = Field(default=256, ge=1, le=10_000)
    per_client: Count = Field(default=2000, ge=1, le=100_000)
