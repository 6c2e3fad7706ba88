"""Gateways of a fleet under test, with a client each."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.fleet import Fleet
from tests.processes import Process, free_port

QUESTION = {"text": "测试消息", "context": {}}
"""What a Locust user posts."""


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """One gateway process, and a client that asks it."""

    process: Process
    client: httpx.AsyncClient
    grpc: str  # host and port

    async def ask(
        self, body: Mapping[str, Any] = QUESTION, *, wait: float | None = None, **headers: str
    ) -> httpx.Response:
        """`POST /api/forward`; a header's `_` is a `-`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if wait is not None:
            sent["Prefer"] = f"wait={wait:g}"
        return await self.client.post("/api/forward", json=body, headers=sent)

    async def find(self, message_id: str, **headers: str) -> httpx.Response:
        """`GET /api/responses/{id}`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(f"/api/responses/{message_id}", headers=sent)


@asynccontextmanager
async def running_gateway(fleet: Fleet, *options: str) -> AsyncIterator[RunningGateway]:
    """One more gateway of a fleet."""
    port, grpc_port = free_port(), free_port()
    process = await fleet.add("gateway", "--port", str(port), "--grpc-port", str(grpc_port), *options)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=60, limits=limits, trust_env=False
    ) as client:
        yield RunningGateway(process, client, f"127.0.0.1:{grpc_port}")
