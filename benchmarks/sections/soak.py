"""`relayfleet bench soak`: a steady load for hours or days; does anything grow, slow down, or pile up?"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.brokers import Broker
from benchmarks.figures import Slope, Verdict, slope
from benchmarks.fleet import Fleet, Shape, fleet
from benchmarks.load.calls import FORWARD, call
from benchmarks.load.http import Spec
from benchmarks.load.lag import lags
from benchmarks.load.traffic import Load, drive
from benchmarks.store import Results, append_lines, read_lines
from benchmarks.watch import MACHINE, Sample, look
from workers.core.errors import UsageError

_SPAN = 600.0  # seconds that one load process lasts
_REMEMBERED = 60.0  # seconds at least; else half of the warm-up, so that what Redis holds is level after it
_FEWEST = 12  # samples after the warm-up that a slope is told from
_NOT_COUNTED = {"lost": None, "duplicates": None}
"""Of the gateway's clients: a question without an answer is an error there."""
_KEPT = {"rss_mb": "memory", "fds": "descriptors", "threads": "threads"}
GROWING = (*_KEPT, "cpu_share")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How many users for how long. Seconds; each user sends one message every `pace` seconds."""

    users: int = 500
    pace: float = 1.0
    seconds: float = 86_400.0
    every: float = 10.0  # between samples
    warmup: float = 600.0  # not part of the slopes: caches and pools fill
    delay_ms: float = 200.0
    gateway: bool = True
    seed: int = 1

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.users / self.pace


def soak(kafka: Broker, plan: Plan, results: Results, say: Say) -> dict[str, Any]:
    """Go on where the samples in `results` end, until the time is over; save and return what they say."""
    path = results.raw / "soak.ndjson"
    before = list(read_lines(path))
    done = float(before[-1]["elapsed"]) if before else 0.0
    segment = int(before[-1]["segment"]) + 1 if before else 0
    shape = shaped(plan)
    if done >= plan.seconds:
        say(f"all {plan.seconds:g} s are done; give more --seconds to go on")
    else:
        with fleet(kafka, shape) as made:
            _Segment(made, plan, done, segment, path, say).run()
    asked = {"users": plan.users, "pace_s": plan.pace, "remember_s": shape.remember}
    found = {**asked, **judged(list(read_lines(path)), plan.warmup)}
    results.save("soak", {"plan": asdict(plan), "fleet": shape.as_dict(), "seed": plan.seed}, found)
    return found


def shaped(plan: Plan) -> Shape:
    """The fleet that bears it: with room for twice the calls that are in flight, and a memory that is soon level."""
    return Shape(
        stub={"delay-ms": plan.delay_ms},
        concurrency=max(64, int(2 * plan.rate * plan.delay_ms / 1000)),
        gateways=int(plan.gateway),
        remember=max(_REMEMBERED, plan.warmup / 2),
    )


class _Segment:
    """One life of the fleet within a soak: samples go to disk as they are taken, traffic span by span."""

    def __init__(self, made: Fleet, plan: Plan, done: float, number: int, path: Path, say: Say) -> None:
        self._fleet = made
        self._plan = plan
        self._number = number
        self._path = path
        self._say = say
        self._began = time.monotonic() - done
        self._last: dict[str, Sample] = {}

    def run(self) -> None:
        """Until the plan's time is over. A sample at both ends of a span: what it took is known however short it is."""
        self._sample()
        while (left := self._plan.seconds - self._elapsed()) >= 1:
            traffic = self._span(min(_SPAN, left))
            self._sample()
            self._write([{"kind": "traffic", **traffic}])
            p99 = traffic["latency_ms"].get("p99", 0.0)
            self._say(
                f"{self._elapsed():,.0f} s: {traffic['achieved']:,.0f}/s, p99 {p99:.0f} ms, {self._memory()}"
            )

    def _span(self, seconds: float) -> dict[str, Any]:
        plan = self._plan
        if plan.gateway:
            url = f"{self._fleet.gateway_url}/api/forward"
            spec = Spec(url, FORWARD, 0.0, seconds, "", users=plan.users, pace=plan.pace)
            calls = call(spec, {}, 0.0, self._sample_until(seconds))
            return _kept({**calls.summary(), **_NOT_COUNTED})
        load = Load(plan.rate, seconds, 0.0, seed=plan.seed, patience=30.0)
        return _kept(drive(self._fleet, load, self._sample_until(seconds)).summary())

    def _sample_until(self, seconds: float) -> Callable[[float], None]:
        def during(start: float) -> None:
            end = start + seconds
            while time.monotonic() < end:
                time.sleep(min(self._plan.every, max(0.0, end - time.monotonic())))
                self._sample()

        return during

    def _sample(self) -> None:
        rows = []
        for sample in look(self._fleet.pids()):
            before = self._last.get(sample.name)
            self._last[sample.name] = sample
            if before is not None and before.pid == sample.pid and sample.name != MACHINE:
                share = (sample.cpu - before.cpu) / (sample.at - before.at)
                rows.append({"kind": "process", **sample.as_dict(), "cpu_share": share})
        rows.append({"kind": "lag", "lag": lags(self._fleet.kafka.bootstrap, self._fleet.groups)})
        self._write(rows)

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        stamp = {"elapsed": round(self._elapsed(), 3), "segment": self._number}
        append_lines(self._path, [{**stamp, **row} for row in rows])

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _memory(self) -> str:
        ours = (sample for name, sample in self._last.items() if name != MACHINE)
        return ", ".join(f"{sample.name} {sample.rss_mb:.0f} MB" for sample in ours)


def _kept(summary: Mapping[str, Any]) -> dict[str, Any]:
    names = ("sent", "achieved", "lost", "errors", "duplicates", "latency_ms")
    return {name: summary[name] for name in names}


def judged(rows: Sequence[Mapping[str, Any]], warmup: float) -> dict[str, Any]:
    """Slopes of every process after the warm-up, the verdicts, and what the traffic came to."""
    traffic = [row for row in rows if row["kind"] == "traffic"]
    if not traffic:
        raise UsageError("no samples yet: give the soak more --seconds")
    processes = sorted({str(row["name"]) for row in rows if row["kind"] == "process"})
    slopes = {name: _slopes([row for row in rows if row.get("name") == name], warmup) for name in processes}
    p99s = [row["latency_ms"]["p99"] for row in traffic if row["latency_ms"].get("count")]
    return {
        "hours": float(traffic[-1]["elapsed"]) / 3600,
        "segments": int(traffic[-1]["segment"]) + 1,
        "warmup_s": warmup,
        **{name: _sum(row[name] for row in traffic) for name in ("sent", "lost", "errors", "duplicates")},
        "p99_ms": {"median": float(np.median(p99s)), "worst": max(p99s)} if p99s else {},
        "lag_max": max((sum(row["lag"].values()) for row in rows if row["kind"] == "lag"), default=None),
        "slopes": slopes,
        "leaks": _that_are(slopes, "leak"),
        "not_known_yet": _that_are(slopes, "not known yet"),
    }


def _sum(counts: Iterable[int | None]) -> int | None:
    """None where it was not counted."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _that_are(slopes: Mapping[str, Any], verdict: Verdict) -> list[str]:
    """What grows like that, by process: CPU is not among it, since who works more does not leak."""
    return [
        f"{name} ({said})"
        for name, found in slopes.items()
        for what, said in _KEPT.items()
        if found and found[what]["verdict"] == verdict
    ]


def _slopes(rows: Sequence[Mapping[str, Any]], warmup: float) -> dict[str, Any]:
    """Of one process; a segment's own warm-up is left out as well. Empty where there are too few samples."""
    begins: dict[int, float] = {}
    for row in rows:
        begins.setdefault(int(row["segment"]), float(row["elapsed"]))
    kept = [row for row in rows if float(row["elapsed"]) - begins[int(row["segment"])] >= warmup]
    if len(kept) < _FEWEST:
        return {}
    hours = [float(row["elapsed"]) / 3600 for row in kept]
    segments = [int(row["segment"]) for row in kept]
    found: dict[str, Slope] = {
        name: slope(hours, [float(row[name]) for row in kept], segments) for name in GROWING
    }
    return {name: each.as_dict() for name, each in found.items()}
