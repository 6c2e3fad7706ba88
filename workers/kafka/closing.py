"""How a publisher ends: apart from it, since what is compiled has no coroutines (see `setup.py`)."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from workers.core.deadlines import Deadline
from workers.kafka.posts import PostBox


class Closing(Protocol):
    """A publisher, as far as it ends."""

    @property
    def under_way(self) -> Sequence[asyncio.Future[None]]:
        """Deliveries that are not over."""

    def give_up(self) -> int:
        """Deliver nothing more; returns how many records are left."""

    def stop(self) -> None:
        """Look after nothing any more."""


async def close(publisher: Closing, posts: PostBox, deadline: Deadline) -> int:
    """Wait for what is under way until the deadline; returns how many records were not delivered."""
    under_way = publisher.under_way
    if under_way:
        await asyncio.wait(under_way, timeout=deadline.remaining())
    undelivered = publisher.give_up()
    await asyncio.to_thread(posts.flush, deadline.remaining())
    posts.close()
    publisher.stop()
    return undelivered
