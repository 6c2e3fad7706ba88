"""The router's decision with nothing around it: records in, planned outcomes out."""

import functools
import json
import time
from pathlib import Path

import orjson

from workers.core.clock import SystemClock
from workers.core.interpreter import calm_collector
from workers.core.records import Received
from workers.core.topology.model import Topology
from workers.core.topology.routing import UNKNOWN, Intent, labelled_lines
from workers.policies.intents import IntentModel
from workers.policies.learn import learn
from workers.router.planner import Planner

SLICE = 500
KEYWORDS = 1000
EXAMPLES = Path(__file__).parents[1] / "examples" / "intents"


def topology(*, classify: bool) -> Topology:
    """One route; or 1,000 keywords in ten routes, then eight intents, then that one."""
    routes: list[dict[str, object]] = [{"name": "default", "to": "llm"}]
    intents: dict[str, Intent] = {}
    if classify:
        each = KEYWORDS // 10
        words = [
            [f"keyword{number}" for number in range(route * each, (route + 1) * each)] for route in range(10)
        ]
        asked: list[dict[str, object]] = [
            {"name": f"words-{number}", "when": {"keywords": some}, "to": "llm"}
            for number, some in enumerate(words)
        ]
        intents = eight_intents()
        asked += [
            {"name": f"about-{name}", "when": {"intent": [name]}, "to": "llm"}
            for name in intents
            if name != UNKNOWN
        ]
        routes = [*asked, *routes]
    return Topology.model_validate(
        {
            "version": 1,
            "intents": {name: {"examples": intent.examples} for name, intent in intents.items()},
            "routes": routes,
            "targets": {"llm": {"type": "openai", "instances": [{"url": "http://127.0.0.1:1/v1"}]}},
        }
    )


def eight_intents() -> dict[str, Intent]:
    """The shipped ones, in two languages, and `unknown` beside them."""
    shipped = labelled_lines((EXAMPLES / "train.jsonl").read_text())
    assert isinstance(shipped, dict)  # noqa: S101 - the file is ours
    return {name: Intent.model_validate(intent) for name, intent in shipped.items()}


@functools.cache
def learnt() -> IntentModel:
    """What knows them; learning takes a second."""
    return learn(eight_intents())


def questions() -> list[str]:
    """Texts that nobody learnt from."""
    lines = (EXAMPLES / "test.jsonl").read_text().splitlines()
    return [json.loads(line)["text"] for line in lines]


def records(count: int) -> list[Received]:
    """Requests as producers write them."""
    texts = questions()
    now = int(SystemClock().wall() * 1000)
    return [
        Received(
            "model_requests",
            0,
            number,
            b"k%d" % number,
            orjson.dumps(
                {
                    "message_id": f"m{number}",
                    "source": "bench",
                    "payload": {"text": texts[number % len(texts)]},
                    "timestamp": now / 1000,
                }
            ),
            (),
            now,
        )
        for number in range(count)
    ]


def plan(messages: int, *, classify: bool = False) -> float:
    """Plan messages in slices, as the router does; returns seconds of CPU."""
    made = topology(classify=classify)
    planner = Planner(made, SystemClock(), learnt() if classify else None)
    slices = [records(SLICE) for _ in range(messages // SLICE)]
    calm_collector()
    began = time.process_time()
    for each in slices:
        planner.plan(each)
    return time.process_time() - began


def classify(messages: int) -> float:
    """The same with 1,000 keywords and eight intents."""
    return plan(messages, classify=True)
