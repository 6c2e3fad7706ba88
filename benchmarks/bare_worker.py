"""The bare loop that `benchmarks.worker` compares with: consume, call, produce, and no promise about anything.

Started as `python -m benchmarks.bare_worker KAFKA STUB NAME`. No retries, no validation, no order, no metrics; what
was read is committed by a timer, whether it was answered or not.
"""

import asyncio
import sys
import threading
from contextlib import suppress

import orjson
import uvloop
from confluent_kafka import Consumer, Message, Producer
from pyreqwest.client import Client, ClientBuilder

CONCURRENCY = 64


class BareLoop:
    """One poll thread, tasks, and a producer that nobody waits for."""

    def __init__(self, kafka: str, stub: str, name: str) -> None:
        self._url = f"{stub}/v1/chat/completions"
        self._responses = f"{name}.responses"
        self._producer = Producer({"bootstrap.servers": kafka, "linger.ms": 5, "compression.type": "lz4"})
        self._consumer = Consumer(
            {"bootstrap.servers": kafka, "group.id": name, "auto.offset.reset": "earliest"}
        )
        self._consumer.subscribe([f"{name}.llm"])
        self._queue: asyncio.Queue[Message] = asyncio.Queue()

    async def run(self) -> None:
        """For ever."""
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._poll, daemon=True).start()
        async with ClientBuilder().build() as client:
            await asyncio.gather(*(self._work(client) for _ in range(CONCURRENCY)))

    def _poll(self) -> None:
        while True:
            batch = self._consumer.consume(500, timeout=0.05)
            self._loop.call_soon_threadsafe(self._take, batch)
            self._producer.poll(0)

    def _take(self, batch: list[Message]) -> None:
        for message in batch:
            self._queue.put_nowait(message)

    async def _work(self, client: Client) -> None:
        while True:
            message = await self._queue.get()
            request = orjson.loads(message.value() or b"{}")
            content = request["payload"]["text"]
            body = {"model": "stub", "messages": [{"role": "user", "content": content}]}
            response = await client.post(self._url).body_json(body).build().send()
            answer = await response.json()
            text = answer["choices"][0]["message"]["content"]
            result = {"message_id": request["message_id"], "payload": {"text": text}, "status": "ok"}
            self._producer.produce(self._responses, orjson.dumps(result), message.key())


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        uvloop.run(BareLoop(*sys.argv[1:]).run())
