"""Sends envelopes at their intended times, in a process of its own: `python -m benchmarks.load.sender SPEC`.

SPEC is JSON, see `Spec`. When all are delivered it prints one JSON object: how many, which were not acknowledged, and
how late they left.
"""

import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson
from confluent_kafka import KafkaError, Message, Producer

from benchmarks.load.schedule import Arrivals, Schedule
from workers.core.clock import SystemClock

TEXT = "推荐一款5000元以内的笔记本电脑"
_FLUSH_WITHIN = 120.0


@dataclass(frozen=True, slots=True)
class Spec:
    """What to send. `start` is a moment of the monotonic clock; rate 0 sends as fast as the client takes it."""

    kafka: str
    topic: str
    prefix: str
    rate: float
    seconds: float
    start: float
    count: int = 0  # of messages, where the rate is 0
    arrivals: Arrivals = "uniform"
    seed: int = 1
    keys: int = 5000
    text_bytes: int = 0  # pad the text to so many
    linger_ms: float = 1.0

    def times(self) -> list[float]:
        """Seconds from the start at which each message is meant to be sent."""
        if not self.rate:
            return [0.0] * self.count
        times: list[float] = Schedule(self.rate, self.seconds, self.arrivals, self.seed).times().tolist()
        return times

    def command(self) -> list[str]:
        """The process that does it."""
        return [sys.executable, "-m", "benchmarks.load.sender", orjson.dumps(asdict(self)).decode()]


class Sender:
    """Produces with every record acknowledged by all in-sync replicas, as a careful producer would."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self.failed: list[int] = []
        self._producer = Producer(
            {
                "bootstrap.servers": spec.kafka,
                "enable.idempotence": True,
                "linger.ms": spec.linger_ms,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 2_000_000,
                "queue.buffering.max.kbytes": 1_048_576,
                "log_level": 0,  # a broker that is killed on purpose is no news
            }
        )
        text = TEXT.encode().ljust(spec.text_bytes, b".").decode()
        payload = orjson.dumps({"text": text, "context": {"user_history": ["之前咨询过显示器"]}})
        prefix, now = spec.prefix.encode(), int(SystemClock().wall())
        self._before = b'{"message_id":"' + prefix + b"-"
        self._after = b'","source":"bench","payload":' + payload + b',"timestamp":%d}' % now

    def run(self) -> dict[str, Any]:
        """Send everything, and tell."""
        start, late = self._spec.start, []
        for number, due in enumerate(self._spec.times()):
            ahead = start + due - time.monotonic()
            if ahead > 0:
                self._producer.poll(0)
                ahead = start + due - time.monotonic()
                if ahead > 0:
                    time.sleep(ahead)
            late.append(time.monotonic() - start - due)
            self._produce(number)
        took = time.monotonic() - start
        undelivered = self._producer.flush(_FLUSH_WITHIN)
        return {
            "count": len(late),
            "failed": sorted(self.failed),
            "undelivered": undelivered,
            "seconds": took,
            "late_p99_ms": float(np.percentile(late, 99)) * 1000,
            "late_max_ms": max(late) * 1000,
        }

    def _produce(self, number: int) -> None:
        value = b"%b%d%b" % (self._before, number, self._after)
        key = b"k%d" % (number % self._spec.keys)

        def report(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                self.failed.append(number)

        while True:
            try:
                self._producer.produce(self._spec.topic, value, key, on_delivery=report)
                break
            except BufferError:
                self._producer.poll(0.01)
        if number % 64 == 0:
            self._producer.poll(0)


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(Sender(Spec(**orjson.loads(sys.argv[1]))).run()))
