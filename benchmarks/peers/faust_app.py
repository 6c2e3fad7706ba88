"""A Faust agent that calls httpx: `python faust_app.py KAFKA STUB NAME`.

An agent with `concurrency`, one httpx client, answers sent to a topic, as its documentation shows. With a concurrency
above one Faust may commit past a message that is still being worked on.
"""

import sys
from tempfile import mkdtemp
from typing import Any

import faust
import httpx

KAFKA, STUB, NAME = sys.argv[1:4]
CONCURRENCY = 64

app = faust.App(
    NAME,
    broker=f"kafka://{KAFKA}",
    web_enabled=False,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    value_serializer="json",
    datadir=mkdtemp(),
)
requests = app.topic(f"{NAME}.llm", value_type=bytes, value_serializer="json")
responses = app.topic(f"{NAME}.responses", value_serializer="json")
client = httpx.AsyncClient(
    base_url=STUB, timeout=30, limits=httpx.Limits(max_connections=CONCURRENCY), trust_env=False
)


@app.agent(requests, concurrency=CONCURRENCY)
async def answer(stream: Any) -> None:
    """The messages, one after the other in each of the agent's tasks."""
    async for request in stream:
        body = {"model": "stub", "messages": [{"role": "user", "content": request["payload"]["text"]}]}
        response = await client.post("/v1/chat/completions", json=body)
        response.raise_for_status()
        text = response.json()["choices"][0]["message"]["content"]
        _ = await responses.send(
            value={"message_id": request["message_id"], "payload": {"text": text}, "status": "ok"}
        )


if __name__ == "__main__":
    app.finalize()
    faust.Worker(app, loglevel="warn").execute_from_commandline()
