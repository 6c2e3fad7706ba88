"""`relayfleet bench run`: latency, rate and cost of a message, from topic to topic and through the gateway."""

import statistics
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
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
from benchmarks.load.lag import lags
from benchmarks.load.logs import queue_waits
from benchmarks.load.outcomes import Outcomes
from benchmarks.load.sender import Spec
from benchmarks.load.traffic import Load, Traffic, drive, finished
from benchmarks.store import Results
from benchmarks.watch import busiest

ONE_AT_A_TIME = 20.0  # messages a second: each is done before the next one comes
RATES = (500.0, 1000.0, 2000.0, 3000.0, 4000.0, 6000.0, 8000.0, 10_000.0, 12_000.0)
_TRIES = 2  # of a rate that seems too much
SHORT_RATES = (500.0, 1000.0, 2000.0, 4000.0, 8000.0)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What `run` does. Seconds, messages, messages a second."""

    rate: float = 1000.0
    seconds: float = 30.0
    warmup: float = 5.0
    runs: int = 5
    baseline_seconds: float = 10.0
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
    shape = Shape(stub={"delay-ms": plan.delay_ms})
    with fleet(kafka, shape) as made:
        found: dict[str, Any] = {"backend_ceiling": uvloop.run(ceiling(made.stub_url, 2.0))}
        say(f"the stub backend answers {found['backend_ceiling']:,.0f} calls a second at most")
        found["topic"] = topic_to_topic(made, plan, results, say)
        if plan.gateway:
            made.add("gateway")  # not before: it reads every response, and nobody asked it
            found["gateway"] = through_gateway(made, plan, say)
    settings = {"plan": asdict(plan), "fleet": shape.as_dict(), "seed": plan.seed}
    topic = found["topic"]
    lost = sum(
        each["lost"] for each in (topic["baseline"], *topic["steady"], *topic["burst"], *topic["sweep"])
    )
    return {**results.save("run", settings, found), "lost": lost}


def topic_to_topic(made: Fleet, plan: Plan, results: Results, say: Say) -> dict[str, Any]:
    """One at a time, at the given rate, as fast as it goes, and at rising rates."""
    drive(made, plan.load(plan.rate, plan.warmup))  # warms up everything, Java above all
    baseline = drive(made, plan.load(ONE_AT_A_TIME, min(plan.seconds, plan.baseline_seconds))).summary()
    say(f"one at a time: {_in_words(baseline)}")
    steady = [_steady(made, plan, number, results, say) for number in range(plan.runs)]
    waits = queue_waits(made.kafka.bootstrap, made.logs)
    bursts = [burst(made, plan.burst) for _ in range(plan.runs)]
    say(f"as fast as it goes: {statistics.median(each['rate'] for each in bursts):,.0f} messages/s")
    return {
        "baseline": baseline,
        "steady": steady,
        "queue_wait_ms": waits,
        "burst": bursts,
        "burst_rate": asdict(spread([each["rate"] for each in bursts])),
        **rising(plan, lambda rate: drive(made, plan.load(rate, plan.sweep_seconds)), "topic", say),
    }


def _steady(made: Fleet, plan: Plan, number: int, results: Results, say: Say) -> dict[str, Any]:
    behind: dict[str, int] = {}

    def look(start: float) -> None:
        time.sleep(max(0.0, start + 0.8 * plan.seconds - time.monotonic()))
        behind.update(lags(made.kafka.bootstrap, made.groups))

    before = _loopback()
    traffic = drive(made, plan.load(plan.rate, plan.seconds, number), look)
    crossed = _loopback() - before
    seconds, latencies = traffic.series()
    results.save_arrays(f"run-topic-{number}", intended_s=seconds, latency_ms=latencies.astype(np.float32))
    summary = {**traffic.summary(), "bytes_a_message": _bytes(traffic, crossed), "lag": sum(behind.values())}
    say(f"{plan.rate:,.0f} messages/s: {_in_words(summary)}")
    return summary


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
    return {
        "count": count,
        "rate": rate_of_burst(arrived),
        "lost": count - len(arrived) - len(told["failed"]),
        "duplicates": outcomes.again.total(),
        "sending_seconds": told["seconds"],
    }


def rate_of_burst(arrived: Sequence[float]) -> float:
    """Between the first tenth and the last; 0 where they are too few, or were all seen in the same moment."""
    tenth = len(arrived) // 10
    took = arrived[-1] - arrived[tenth] if len(arrived) > 10 else 0.0
    return (len(arrived) - tenth) / took if took > 0 else 0.0


def rising(plan: Plan, drive_at: Callable[[float], Traffic | Calls], who: str, say: Say) -> dict[str, Any]:
    """Rising rates until one is too much, the knee, and what the bottleneck was at the last of them.

    A rate that is too much is tried once more: other work on the machine for a second is no limit of ours.
    """
    points: list[dict[str, Any]] = []
    bottleneck = None
    for rate in plan.rates:
        for _ in range(_TRIES):
            seen = drive_at(rate)
            point = seen.summary()
            say(f"{who}, {rate:,.0f}/s offered: {seen.achieved():,.0f} came, {_in_words(point)}")
            found = knee([_point(each) for each in (*points, point)])
            if found == rate:
                break
        points.append(point)
        bottleneck = busiest(seen.use)
        if found != rate:
            break
    return {"sweep": points, "knee": knee([_point(each) for each in points]), "bottleneck": bottleneck}


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
    baseline = call(
        replace(spec, rate=ONE_AT_A_TIME, seconds=min(plan.seconds, plan.baseline_seconds)), pids
    ).summary()
    say(f"gateway, one at a time: {_in_words(baseline)}")
    steady = []
    for number in range(plan.runs):
        timed = replace(spec, rate=plan.rate, seed=plan.seed + number)
        steady.append(call(timed, pids, plan.warmup).summary())
        say(f"gateway, {plan.rate:,.0f} requests/s: {_in_words(steady[-1])}")
    rates = rising(
        plan, lambda rate: call(replace(spec, rate=rate, seconds=plan.sweep_seconds), pids), "gateway", say
    )
    return {"baseline": baseline, "steady": steady, **rates}


def _in_words(summary: Mapping[str, Any]) -> str:
    found, errors = summary["latency_ms"], summary["errors"]
    if not found["count"]:
        return f"nothing came back, {errors} errors"
    return f"p50 {found['p50']:.1f} ms, p99 {found['p99']:.1f} ms, max {found['max']:.0f} ms, {errors} errors"
