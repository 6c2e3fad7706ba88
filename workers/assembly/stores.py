"""What the workers remember: in Redis, else in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from workers.core.ports import OutcomeStore, SessionStore
from workers.core.topology.model import Topology
from workers.stores.memory import MemoryOutcomeStore
from workers.stores.shared import SharedStores

log = structlog.get_logger()


@asynccontextmanager
async def open_outcomes(topology: Topology) -> AsyncIterator[OutcomeStore]:
    """What the workers remember of answered messages: in Redis, else each worker by itself."""
    once, url = topology.once, topology.stores.redis
    store: OutcomeStore
    if url is None:
        log.warning(
            "outcomes_not_shared",
            why="no stores.redis",
            so="a repeated message is recognised by the worker that answered it alone",
        )
        store = MemoryOutcomeStore(window=once.window, lease=once.lease)
    else:
        from workers.stores.redis import RedisOutcomeStore

        store = RedisOutcomeStore(url.get_secret_value(), window=once.window, lease=once.lease)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_sessions(topology: Topology) -> AsyncIterator[SessionStore]:
    """What the workers remember of conversations: in Redis, else each worker by itself."""
    url = topology.stores.redis
    store: SessionStore
    if url is None:
        from workers.stores.sessions_memory import MemorySessionStore

        store = MemorySessionStore()
    else:
        from workers.stores.sessions_redis import RedisSessionStore

        store = RedisSessionStore(url.get_secret_value())
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_shared(topology: Topology) -> AsyncIterator[SharedStores]:
    """What the workers share beside outcomes and conversations, opened when a target first needs it."""
    url = topology.stores.redis
    shared = SharedStores(None if url is None else url.get_secret_value())
    try:
        yield shared
    finally:
        await shared.close()
