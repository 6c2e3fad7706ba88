"""`relayfleet bench run`: latency, rate and cost of a message, from topic to topic and through the gateway."""

import statistics
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from benchmarks.brokers import Broker
from benchmarks.figures import Point, knee, spread
from benchmarks.fleet import Fleet, Shape, fleet
from benchmarks.load.calls import FORWARD, Calls, call
from benchmarks.load.ceiling import measure as ceiling
from benchmarks.load.http import Spec as HttpSpec
from benchmarks.load.logs import queue_waits
from benchmarks.load.outcomes import Outcomes
from benchmarks.load.sender import Spec
from benchmarks.load.traffic import Load, Traffic, drive, finished
from benchmarks.store import Results

ONE_AT_A_TIME = 20.0  # messages a second: each is done before the next one comes
RATES = (500.0, 1000.0, 2000.0, 3000.0, 4000.0, 6000.0, 8000.0, 10_000.0, 12_000.0)
SHORT_RATES = (500.0, 1000.0, 2000.0, 4000.0, 8000.0)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What `run` does. Seconds, messages, messages a second."""

    rate: float = 1000.0
    seconds: float = 30.0
    warmup: float = 5.0
    runs: int = 5
    burst: int = 100_000
    rates: Sequence[float] = RATES
    sweep_seconds: float = 10.0
    arrivals: str = "uniform"
    seed: int = 1
    text_bytes: int = 0
    delay_ms: float = 0.0
    gateway: bool = True

    def load(self, rate: float, seconds: float, run: int = 0) -> Load:
        """One load of this plan."""
        warmup = min(self.warmup, seconds / 3)
        return Load(rate, seconds, warmup, self.arrivals, self.seed + run, self.text_bytes)


def run(kafka: Broker, plan: Plan, results: Results, say: Say) -> dict[str, Any]:
    """Measure, and save what was found."""
    shape = Shape(stub={"delay-ms": plan.delay_ms}, gateways=int(plan.gateway))
    with fleet(kafka, shape) as made:
        found: dict[str, Any] = {"backend_ceiling": uvloop.run(ceiling(made.stub_url, 2.0))}
        say(f"the stub backend answers {found['backend_ceiling']:,.0f} calls a second at most")
        found["topic"] = topic_to_topic(made, plan, results, say)
        if plan.gateway:
            found["gateway"] = through_gateway(made, plan, say)
    settings = {"plan": asdict(plan), "fleet": shape.as_dict(), "seed": plan.seed}
    return results.save("run", settings, found)


def topic_to_topic(made: Fleet, plan: Plan, results: Results, say: Say) -> dict[str, Any]:
    """One at a time, at the given rate, as fast as it goes, and at rising rates."""
    drive(made, plan.load(plan.rate, plan.warmup))  # warms up everything, Java above all
    baseline = drive(made, plan.load(ONE_AT_A_TIME, min(plan.seconds, 10.0)))
    say(f"one at a time: {_in_words(baseline)}")
    steady = [_steady(made, plan, number, results, say) for number in range(plan.runs)]
    waits = queue_waits(made.kafka.bootstrap, made.logs)
    bursts = [burst(made, plan.burst) for _ in range(plan.runs)]
    say(f"as fast as it goes: {statistics.median(each['rate'] for each in bursts):,.0f} messages/s")
    points = sweep(made, plan, say)
    return {
        "baseline": baseline.summary(),
        "steady": steady,
        "queue_wait_ms": waits,
        "burst": bursts,
        "burst_rate": asdict(spread([each["rate"] for each in bursts])),
        "sweep": points,
        "knee": knee([_point(each) for each in points]),
    }


def _steady(made: Fleet, plan: Plan, number: int, results: Results, say: Say) -> dict[str, Any]:
    before = _loopback()
    traffic = drive(made, plan.load(plan.rate, plan.seconds, number))
    crossed = _loopback() - before
    seconds, latencies = traffic.series()
    results.save_arrays(f"run-topic-{number}", intended_s=seconds, latency_ms=latencies.astype(np.float32))
    say(f"{plan.rate:,.0f} messages/s: {_in_words(traffic)}")
    return {**traffic.summary(), "bytes_a_message": _bytes(traffic, crossed)}


def _bytes(traffic: Traffic, crossed: int) -> dict[str, float]:
    sizes = [outcome.size for outcome in traffic.outcomes.values()] or [0]
    return {"response": statistics.fmean(sizes), "loopback": crossed / max(1, len(traffic.intended))}


def _loopback() -> int:
    """Bytes that crossed the loopback interface so far, whoever sent them."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name.strip() == "lo":
            return int(rest.split()[0])
    return 0


def burst(made: Fleet, count: int, patience: float = 30.0) -> dict[str, Any]:
    """Messages a second between the first tenth and the last outcome, of `count` messages sent at once."""
    prefix = uuid.uuid4().hex[:8]
    kafka = made.kafka.bootstrap
    spec = Spec(kafka, made.requests, prefix, 0.0, 0.0, time.monotonic() + 1.0, count, linger_ms=10.0)

    with Outcomes(kafka, made.responses, prefix) as outcomes:
        sending = subprocess.Popen(spec.command(), stdout=subprocess.PIPE)
        told = finished(sending)
        outcomes.until(count, patience)
    arrived = sorted(outcome.arrived for outcome in outcomes.first.values())
    tenth = len(arrived) // 10
    rate = (len(arrived) - tenth) / (arrived[-1] - arrived[tenth]) if len(arrived) > 10 else 0.0
    return {
        "count": count,
        "rate": rate,
        "lost": count - len(arrived) - len(told["failed"]),
        "duplicates": outcomes.again.total(),
        "sending_seconds": told["seconds"],
    }


def sweep(made: Fleet, plan: Plan, say: Say) -> list[dict[str, Any]]:
    """Rising rates, until one is too much."""
    points: list[dict[str, Any]] = []
    for rate in plan.rates:
        traffic = drive(made, plan.load(rate, plan.sweep_seconds))
        points.append(traffic.summary())
        say(f"{rate:,.0f} messages/s offered: {traffic.achieved():,.0f} came, {_in_words(traffic)}")
        if knee([_point(each) for each in points]) != rate:
            break
    return points


def _point(summary: dict[str, Any]) -> Point:
    return Point(
        summary["offered"],
        summary["achieved"],
        summary["latency_ms"].get("p99", float("inf")),
        summary["error_rate"],
    )


def through_gateway(made: Fleet, plan: Plan, say: Say) -> dict[str, Any]:
    """The same through HTTP: one at a time, at the given rate, and at rising rates."""
    spec = HttpSpec(f"{made.gateway_url}/api/forward", FORWARD, 0.0, plan.seconds, "")
    pids = made.pids()
    call(replace(spec, rate=plan.rate / 2, seconds=plan.warmup), pids)
    baseline = call(replace(spec, rate=ONE_AT_A_TIME, seconds=min(plan.seconds, 10.0)), pids)
    say(f"gateway, one at a time: {_called(baseline)}")
    steady = []
    for number in range(plan.runs):
        calls = call(replace(spec, rate=plan.rate, seed=plan.seed + number), pids, plan.warmup)
        say(f"gateway, {plan.rate:,.0f} requests/s: {_called(calls)}")
        steady.append(calls.summary())
    points: list[dict[str, Any]] = []
    for rate in plan.rates:
        calls = call(replace(spec, rate=rate, seconds=plan.sweep_seconds), pids)
        points.append(calls.summary())
        say(f"gateway, {rate:,.0f} requests/s offered: {calls.achieved():,.0f} came, {_called(calls)}")
        if knee([_point(each) for each in points]) != rate:
            break
    found = knee([_point(each) for each in points])
    return {"baseline": baseline.summary(), "steady": steady, "sweep": points, "knee": found}


def _in_words(traffic: Traffic) -> str:
    found = traffic.summary()["latency_ms"]
    if not found["count"]:
        return "nothing came back"
    return f"p50 {found['p50']:.1f} ms, p99 {found['p99']:.1f} ms, max {found['max']:.0f} ms"


def _called(calls: Calls) -> str:
    found = calls.summary()["latency_ms"]
    if not found["count"]:
        return f"no answer, {calls.errors} errors"
    return f"p50 {found['p50']:.1f} ms, p99 {found['p99']:.1f} ms, {calls.errors} errors"
