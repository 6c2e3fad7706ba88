"""One, two and four worker processes with a slow model: does a process more bring as much as the first one?"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from confluent_kafka.admin import AdminClient

from benchmarks.brokers import Broker
from benchmarks.figures import spread
from benchmarks.fleet import Fleet, Shape, fleet
from benchmarks.load.backlog import fill, worked_off
from benchmarks.load.members import shares, until_shared_out
from benchmarks.store import Results
from benchmarks.watch import Watch, busiest

Say = Callable[[str], None]

_SHARED_OUT_WITHIN = 60.0  # seconds; it takes two heartbeats, which the broker wants every 5 s


@dataclass(frozen=True, slots=True)
class Plan:
    """Worker processes, calls in flight in each, milliseconds that the model takes, seconds of each run.

    Two numbers in flight: with 1,000 a few workers fill a machine of few cores, 100 leave it room.
    """

    workers: Sequence[int] = (1, 2, 4)
    in_flight: Sequence[int] = (1000, 100)
    delay_ms: float = 200.0
    seconds: float = 6.0
    runs: int = 3


SHORT = Plan(seconds=2.0)


def scaling(kafka: Broker, plan: Plan, results: Results, say: Say) -> dict[str, Any]:
    """Measure, save, and return the rates."""
    rows = [one(kafka, plan, in_flight, count, say) for in_flight in plan.in_flight for count in plan.workers]
    for row in rows:
        first = next(each for each in rows if each["in_flight"] == row["in_flight"])
        row["of_linear"] = row["rate"] / (first["rate"] * row["workers"] / first["workers"])
    found = {"rows": rows}
    results.save("scaling", {"plan": asdict(plan)}, found)
    return found


def one(kafka: Broker, plan: Plan, in_flight: int, count: int, say: Say) -> dict[str, Any]:
    """One number of processes."""
    most = in_flight * count / (plan.delay_ms / 1000)  # what the model's delay allows
    rates, bottleneck = [], ""
    for _ in range(plan.runs):
        shape = Shape(routers=0, workers=count, concurrency=in_flight, stub={"delay-ms": plan.delay_ms})
        with fleet(kafka, shape) as made:
            _until_shared_out(made)
            messages = int(most * (plan.seconds + 2))
            fill(kafka.bootstrap, f"{made.requests}.llm", messages)
            with Watch(made.pids()) as watch:
                rate = worked_off(
                    kafka.bootstrap, made.responses, messages, plan.seconds, lambda: True, warmup=1.0
                )
            bottleneck = busiest(watch.use())
            _end_workers(made)
        rates.append(rate.per_second if rate else 0.0)
    say(f"{count} workers, {in_flight} in flight each: {median(rates):,.0f} of {most:,.0f} messages/s")
    return {
        "workers": count,
        "in_flight": in_flight,
        "rate": median(rates),
        "spread": asdict(spread(rates)),
        "the_delay_allows": most,
        "bottleneck": bottleneck,
    }


def _until_shared_out(made: Fleet) -> None:
    """Every worker has partitions of the target's topic: one that is ready may still have none."""
    admin = AdminClient({"bootstrap.servers": made.kafka.bootstrap, "log_level": 5})
    group, topic = made.groups[1]
    shape = made.shape
    until_shared_out(lambda: shares(admin, group, topic), shape.workers, shape.partitions, _SHARED_OUT_WITHIN)


def _end_workers(made: Fleet) -> None:
    """At once: each would finish what it has in flight, and what is left of the backlog counts no more."""
    for name in [name for name in made.parts if name.startswith("worker")]:
        made.kill(name)
