"""A FastStream worker that calls httpx: `python faststream_app.py KAFKA STUB NAME`.

A subscriber with `max_workers`, a publisher, one httpx client for the life of the application, logging of every message
off, as its documentation shows. With workers side by side FastStream commits on a timer, whether messages are done.
"""

import asyncio
import sys
from typing import Any

import httpx
from faststream import FastStream
from faststream.confluent import KafkaBroker

KAFKA, STUB, NAME = sys.argv[1:4]
CONCURRENCY = 64

broker = KafkaBroker(KAFKA, logger=None)
app = FastStream(broker, logger=None)
client = httpx.AsyncClient(
    base_url=STUB, timeout=30, limits=httpx.Limits(max_connections=CONCURRENCY), trust_env=False
)


@broker.subscriber(f"{NAME}.llm", group_id=NAME, auto_offset_reset="earliest", max_workers=CONCURRENCY)
@broker.publisher(f"{NAME}.responses")
async def answer(request: dict[str, Any]) -> dict[str, Any]:
    """One message."""
    body = {"model": "stub", "messages": [{"role": "user", "content": request["payload"]["text"]}]}
    response = await client.post("/v1/chat/completions", json=body)
    response.raise_for_status()
    text = response.json()["choices"][0]["message"]["content"]
    return {"message_id": request["message_id"], "payload": {"text": text}, "status": "ok"}


if __name__ == "__main__":
    asyncio.run(app.run())
