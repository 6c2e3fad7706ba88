"""`relayfleet bench ramp`: more and more users, by Locust; where latency bends, where errors start, and why."""

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks.brokers import Broker
from benchmarks.figures import merged, quantiles
from benchmarks.fleet import Fleet, Shape, fleet
from benchmarks.store import Results
from benchmarks.watch import Use, Watch, busiest
from workers.core.errors import UnreachableError, UsageError

LOCUSTFILE = Path(__file__).parents[1] / "locustfile.py"
STEPS = (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
_BEND = 2.0  # times the p99 of the first step
_GENERATOR = "load"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How many users, for how long each, and how often each sends. Seconds."""

    steps: Sequence[int] = STEPS
    hold: float = 15.0
    settle: float = 3.0
    pace: float = 1.0
    delay_ms: float = 200.0
    users: Sequence[str] = ("ForwardUser", "WebSocketUser", "GrpcUser")
    seed: int = 1


def ramp(kafka: Broker, plan: Plan, results: Results, say: Say) -> dict[str, Any]:
    """Measure each kind of user, save, and return what was found."""
    require_locust()
    shape = Shape(gateways=1, concurrency=max(plan.steps), stub={"delay-ms": plan.delay_ms})
    found: dict[str, Any] = {}
    with fleet(kafka, shape) as made:
        for kind in plan.users:
            found[kind] = one(made, plan, kind)
            say(f"{kind}: {in_words(found[kind])}")
    results.save("ramp", {"plan": asdict(plan), "fleet": shape.as_dict()}, found)
    return found


def require_locust() -> None:
    """Raise `UsageError` that says what to install."""
    if importlib.util.find_spec("locust") is None:
        raise UsageError("Locust makes the users: `pip install locust`")


def one(made: Fleet, plan: Plan, kind: str) -> dict[str, Any]:
    """One kind of user."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "steps.json"
        running = subprocess.Popen(
            _command(made, plan, kind, file), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        with Watch({**made.pids(), _GENERATOR: running.pid}) as watch:
            output, _ = running.communicate()
            last = time.monotonic() - plan.hold  # the step with the most users
        if not file.exists():
            raise UnreachableError(f"Locust ended with {running.returncode}: {output.decode()[-1500:]}")
        rows = orjson.loads(file.read_bytes())
    for row in rows:
        row["latency_ms"] = quantiles(merged([row["histogram"]]))
    use = watch.use(last)
    return {**judged(rows, use), "processes": {name: asdict(each) for name, each in use.items()}}


def _command(made: Fleet, plan: Plan, kind: str, file: Path) -> list[str]:
    options = {
        "--host": made.gateway_url,
        "--steps": ",".join(map(str, plan.steps)),
        "--hold": plan.hold,
        "--settle": plan.settle,
        "--pace": plan.pace,
        "--grpc": f"127.0.0.1:{made.grpc_port}",
        "--results": file,
    }
    words = [str(word) for pair in options.items() for word in pair]
    quiet = ["--headless", "--only-summary", "--loglevel", "ERROR", "--exit-code-on-error", "0"]
    return [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *quiet, *words, kind]


def judged(rows: Sequence[Mapping[str, Any]], use: Mapping[str, Use]) -> dict[str, Any]:
    """Where latency bends, where errors start, and what the bottleneck was; `use` is that of the last step."""
    base = next((row["latency_ms"]["p99"] for row in rows if row["requests"]), 0.0)
    bends = [row["users"] for row in rows if row["requests"] and row["latency_ms"]["p99"] > _BEND * base]
    wrong = [row["users"] for row in rows if row["errors"]]
    fleet_alone = {name: each for name, each in use.items() if name != _GENERATOR}
    generator = use.get(_GENERATOR)
    return {
        "steps": list(rows),
        "bends_at": min(bends, default=None),
        "errors_from": min(wrong, default=None),
        "bottleneck": busiest(use),
        "busiest_of_the_fleet": busiest(fleet_alone),
        # Locust itself then delays what it measures, and the figures are a lower bound.
        "generator_was_busy": generator is not None and generator.cpu_share > 0.8,
    }


def in_words(found: Mapping[str, Any]) -> str:
    """One line."""
    last = found["steps"][-1] if found["steps"] else None
    if last is None or not last["requests"]:
        return "no request was answered"
    bend = f"latency bends at {found['bends_at']} users" if found["bends_at"] else "latency does not bend"
    errors = f"errors from {found['errors_from']} users" if found["errors_from"] else "no errors"
    p99 = last["latency_ms"]["p99"]
    return f"{last['users']} users: {last['achieved']:,.0f}/s, p99 {p99:.0f} ms; {bend}, {errors}; {found['bottleneck']}"
