"""What deciding costs a message: 1,000 keywords and 8 intents, asked in batches as the router asks.

    python -m benchmarks.classification [--messages 20000] [--runs 5]

Prints one JSON object: microseconds a message, median and spread.
"""

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

import orjson

from benchmarks.figures import Spread, spread
from schemas.envelope import Payload, Request
from workers.core.topology.model import Topology
from workers.policies.learn import learn
from workers.policies.route import compile_routes
from workers.policies.subject import Asked

KEYWORDS = 1000
INTENTS = 8
BATCH = 500
_WORDS = (
    *("订单", "物流", "电脑", "蓝屏", "发票", "退款", "网络", "密码"),
    *("account", "invoice", "refund", "router", "printer", "screen", "battery", "order"),
)


def measure(messages: int, runs: int, seed: int = 1) -> Spread:
    """Microseconds a message."""
    dice = random.Random(seed)
    topology = _topology(dice)
    router = compile_routes(topology, learn(topology.intents))
    asked = [_asked(number, dice) for number in range(messages)]
    router.decide_many(asked[:BATCH])
    return spread([_run(router.decide_many, asked) for _ in range(runs)])


def _run(decide: object, asked: Sequence[Asked]) -> float:
    assert callable(decide)  # noqa: S101 - for the type checker
    began = time.perf_counter()
    for at in range(0, len(asked), BATCH):
        decide(asked[at : at + BATCH])
    return (time.perf_counter() - began) / len(asked) * 1e6


def _asked(number: int, dice: random.Random) -> Asked:
    text = " ".join(dice.choices(_WORDS, k=8)) + f" {number}"
    request = Request(message_id=f"m{number}", source="web", payload=Payload(text=text), timestamp=1.0)
    return Asked(request, (), 1.0)


def _topology(dice: random.Random) -> Topology:
    """Keywords in ten routes, then a route for each intent; most messages get as far as the intents."""
    intents = {
        f"intent_{number}": {
            "examples": [
                f"{_WORDS[2 * number]} {_WORDS[2 * number + 1]} {' '.join(dice.choices(_WORDS, k=3))}"
                for _ in range(12)
            ]
        }
        for number in range(INTENTS)
    }
    words = [f"keyword{number}x" for number in range(KEYWORDS)]
    routes: list[dict[str, object]] = [
        {"name": f"words-{at}", "when": {"keywords": words[at : at + 100]}, "to": "llm"}
        for at in range(0, KEYWORDS, 100)
    ]
    routes += [
        {"name": name, "when": {"intent": name, "min_confidence": 0.5}, "to": "llm"} for name in intents
    ]
    target = {"type": "openai", "instances": [{"url": "http://127.0.0.1:1/v1"}]}
    content = {
        "version": 1,
        "intents": intents,
        "routes": [*routes, {"name": "default", "to": "llm"}],
        "targets": {"llm": target},
    }
    return Topology.model_validate(content)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.classification", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="The same seed makes the same texts.")
    given = parser.parse_args()
    found = {
        "keywords": KEYWORDS,
        "intents": INTENTS,
        "seed": given.seed,
        "microseconds": asdict(measure(given.messages, given.runs, given.seed)),
    }
    sys.stdout.write(f"{orjson.dumps(found).decode()}\n")


if __name__ == "__main__":
    main()
