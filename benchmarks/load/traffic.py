"""Traffic from topic to topic: a sender, the outcomes, the processes watched meanwhile, and what follows from them."""

import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

import numpy as np
import orjson

from benchmarks.figures import Floats, encoded_text, histogram, quantiles
from benchmarks.fleet import Fleet
from benchmarks.load.outcomes import Outcome, Outcomes
from benchmarks.load.sender import Spec
from benchmarks.watch import Use, Watch
from workers.core.errors import UnreachableError

_LEAD = 1.0  # seconds until a sender has started


@dataclass(frozen=True, slots=True)
class Load:
    """An open loop: messages a second, seconds, and how many of these warm up and don't count."""

    rate: float
    seconds: float
    warmup: float = 2.0
    arrivals: str = "uniform"
    seed: int = 1
    text_bytes: int = 0
    patience: float = 20.0  # seconds without any outcome after which the rest is given up


@dataclass(frozen=True)
class Traffic:
    """What came of a load. Arrays are by message; NaN where there is no outcome."""

    load: Load
    start: float
    intended: Floats  # seconds from the start
    arrived: Floats
    outcomes: Mapping[int, Outcome]
    duplicates: int
    unsent: frozenset[int]  # the broker did not take them: nothing was promised
    sender: Mapping[str, Any]
    use: Mapping[str, Use]

    @property
    def counted(self) -> Any:
        """Which messages are past the warm-up."""
        return self.intended >= self.load.warmup

    @property
    def latencies(self) -> Floats:
        """Milliseconds from the intended time, of what counts and came."""
        return self.series()[1]

    def series(self) -> tuple[Floats, Floats]:
        """Intended times in seconds and latencies in milliseconds, of what counts and came."""
        which = self.counted & ~np.isnan(self.arrived)
        taken = (self.arrived[which] - self.intended[which]) * 1000
        return self.intended[which], taken

    @property
    def lost(self) -> int:
        """Accepted by the broker, and no outcome."""
        missing = np.flatnonzero(np.isnan(self.arrived))
        return sum(1 for number in missing if int(number) not in self.unsent)

    @property
    def errors(self) -> int:
        """Outcomes that are errors."""
        return sum(outcome.status != "ok" for outcome in self.outcomes.values())

    def achieved(self) -> float:
        """Outcomes a second between the end of the warm-up and the end of sending, see `rate_within`."""
        offered = int(np.count_nonzero(self.counted))
        return rate_within(self.arrived, self.load.warmup, self.load.seconds, offered)

    def summary(self) -> dict[str, Any]:
        """For JSON and the report."""
        made = histogram(self.latencies)
        return {
            "load": asdict(self.load),
            "offered": self.load.rate,
            "achieved": self.achieved(),
            "latency_ms": quantiles(made),
            "histogram": encoded_text(made),
            "sent": len(self.intended),
            "lost": self.lost,
            "errors": self.errors,
            "error_rate": self.errors / max(1, len(self.outcomes)),
            "duplicates": self.duplicates,
            "stages_ms": stages(self),
            "processes": {name: asdict(use) for name, use in self.use.items()},
            "cpu_us_a_message": self._cpu(),
            "sender": {name: value for name, value in self.sender.items() if name != "failed"},
            "over_time": over_time(self),
        }

    def _cpu(self) -> dict[str, float]:
        count = max(1, len(self.outcomes))
        return {name: use.cpu_seconds / count * 1e6 for name, use in self.use.items()}


def drive(fleet: Fleet, load: Load, during: Callable[[float], None] = lambda start: None) -> Traffic:
    """Send, and wait for the outcomes. `during` is called once with the start, a moment of the monotonic clock."""
    prefix = uuid.uuid4().hex[:8]
    spec = Spec(
        kafka=fleet.kafka.bootstrap,
        topic=fleet.requests,
        prefix=prefix,
        rate=load.rate,
        seconds=load.seconds,
        start=time.monotonic() + _LEAD,
        arrivals="poisson" if load.arrivals == "poisson" else "uniform",
        seed=load.seed,
        text_bytes=load.text_bytes,
    )
    intended = np.asarray(spec.times())
    with Outcomes(fleet.kafka.bootstrap, fleet.responses, prefix) as outcomes:
        sending = subprocess.Popen(spec.command(), stdout=subprocess.PIPE)
        with Watch({**fleet.pids(), "load": sending.pid}) as watch:
            during(spec.start)
            sent = finished(sending)
            unsent = frozenset(sent["failed"])
            outcomes.until(len(intended) - len(unsent), load.patience)
        use = watch.use(spec.start)
    arrived = np.full(len(intended), np.nan)
    for number, outcome in outcomes.first.items():
        arrived[number] = outcome.arrived - spec.start
    return Traffic(
        load,
        spec.start,
        intended,
        arrived,
        outcomes.first,
        outcomes.again.total(),
        unsent,
        sent,
        use,
    )


def rate_within(arrived: Floats, since: float, until: float, offered: float = inf) -> float:
    """Arrivals a second between two moments.

    Never more than the `offered` messages of that time: what a warm-up left behind comes on top of it, and is no rate.
    """
    came = int(np.count_nonzero((arrived >= since) & (arrived < until)))
    return min(came, offered) / (until - since)


def finished(sending: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """Wait for a load process and read what it tells. Raises `UnreachableError` when it failed."""
    output, _ = sending.communicate()
    if sending.returncode:
        raise UnreachableError(f"the load generator ended with {sending.returncode}; its reason is above")
    told: dict[str, Any] = orjson.loads(output)
    return told


def stages(traffic: Traffic) -> dict[str, dict[str, float]]:
    """Milliseconds of each stage, from the timing that every response carries. They add up to the whole.

    `to_router` is the wait in the requests' topic and the router's work (the log events tell these two apart),
    `to_worker` the way to the worker, `model` the call, `worker` all else in it, `publish` the way back.
    """
    found: dict[str, list[float]] = {
        name: [] for name in ("to_router", "to_worker", "model", "worker", "publish")
    }
    for number, outcome in traffic.outcomes.items():
        if traffic.intended[number] < traffic.load.warmup:
            continue
        timing = outcome.timing
        whole = (outcome.arrived - traffic.start - traffic.intended[number]) * 1000
        known = {"to_router": timing.get("queued") or 0.0, "to_worker": timing.get("routed") or 0.0}
        known["model"] = timing.get("model") or 0.0
        total = timing.get("total") or 0.0
        known["worker"] = max(0.0, total - sum(known.values()))
        known["publish"] = max(0.0, whole - total)
        for name, value in known.items():
            found[name].append(value)
    return {name: brief(values) for name, values in found.items() if values}


def brief(values: Sequence[float] | Floats) -> dict[str, float]:
    """Mean and two quantiles."""
    p50, p99 = np.percentile(values, [50, 99])
    return {"mean": float(np.mean(values)), "p50": float(p50), "p99": float(p99)}


def over_time(traffic: Traffic) -> list[dict[str, float]]:
    """By second: outcomes that came, and the latency of what was meant to be sent then."""
    arrived = traffic.arrived[~np.isnan(traffic.arrived)]
    seconds, latencies = traffic.series()
    rows = []
    for second in range(int(traffic.load.seconds)):
        came = int(np.count_nonzero((arrived >= second) & (arrived < second + 1)))
        here = latencies[(seconds >= second) & (seconds < second + 1)]
        row: dict[str, float] = {"second": second, "outcomes": came}
        if len(here):
            p50, p99 = np.percentile(here, [50, 99])
            row |= {"p50": float(p50), "p99": float(p99), "max": float(here.max())}
        rows.append(row)
    return rows
