"""`relayfleet bench recover`: kill each kind of process under load, and see what that costs whom."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson

from benchmarks.brokers import Broker
from benchmarks.figures import Floats
from benchmarks.fleet import Fleet, Shape, answers, fleet
from benchmarks.load import front, traffic
from benchmarks.load.traffic import Load, Traffic
from benchmarks.store import Results
from workers.core.errors import RelayError, UsageError
from workers.local.restart import RestartPolicy

FAULTS = ("worker", "router", "gateway", "redis", "backend", "broker")
RESTARTED_AFTER = RestartPolicy().initial
"""Seconds until a killed process is started again: as `relayfleet up` does it."""
_PARTS = {"backend": "stub"}
_STEP = 0.05  # seconds; how finely the backlog is followed

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is killed, and under which load. Seconds, messages a second."""

    faults: tuple[str, ...] = FAULTS
    rate: float = 500.0
    warmup: float = 4.0  # before the first fault
    before: float = 6.0  # seconds of load until the kill
    after: float = 20.0  # and from then on
    workers: int = 1
    named: bool = True  # as operators are told to run them: a killed process has its partitions back at once
    delay_ms: float = 20.0
    seed: int = 1
    runs: int = 1  # of every fault, in turns

    @property
    def load(self) -> Load:
        """The load of each fault."""
        return Load(self.rate, self.before + self.after, 2.0, seed=self.seed, patience=45.0)


@dataclass(frozen=True, slots=True)
class Recovery:
    """One fault. Seconds count from the kill; None: not within the run."""

    fault: str
    sent: int
    lost: int
    duplicates: int
    paid_twice: int | None  # None where the backend, which counts, was killed itself
    failed: int
    first_outcome_s: float | None
    full_recovery_s: float | None
    worst_ms: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def recover(kafka: Broker, plan: Plan, results: Results, say: Say) -> dict[str, Any]:
    """Measure, save, and return what `bench recover -o json` prints."""
    _check(kafka, plan)
    shape = Shape(
        workers=plan.workers,
        named=plan.named,
        gateways=int("gateway" in plan.faults),
        stub={"delay-ms": plan.delay_ms, "remember": 1},
    )
    rows, lines = [], {}
    with fleet(kafka, shape) as made:
        traffic.drive(made, Load(plan.rate, plan.warmup))
        for fault in plan.faults * plan.runs:
            recovery, lines[fault] = one(made, plan, fault)
            rows.append(recovery)
            say(in_words(recovery))
    found = {**totals(rows), "faults": [row.as_dict() for row in rows], "time_lines": lines}
    settings = {"plan": asdict(plan), "restarted_after_s": RESTARTED_AFTER, "seed": plan.seed}
    results.save("recover", settings, found)
    return found


def _check(kafka: Broker, plan: Plan) -> None:
    if unknown := [fault for fault in plan.faults if fault not in FAULTS]:
        raise UsageError(f"can't kill {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    if "broker" in plan.faults and not kafka.own:
        raise UsageError("a broker that --kafka names is not killed: leave `broker` out, or --kafka")


def one(made: Fleet, plan: Plan, fault: str) -> tuple[Recovery, list[dict[str, float]]]:
    """One fault; returns what it cost, and outcomes and backlog over time.

    The gateway's load goes through it, by clients that ask again; all else from topic to topic.
    """
    drive = front.drive if fault == "gateway" else traffic.drive
    kill = Kill(made, fault, plan.before)
    before = _paid_twice(made)
    seen = drive(made, plan.load, kill.schedule)
    kill.wait()
    at = kill.at - seen.start
    twice = None if fault == "backend" else _paid_twice(made) - before
    return judged(fault, seen, at, twice), time_line(seen, at)


def _paid_twice(made: Fleet) -> int:
    """Ids that the backend answered more than once since it was started."""
    return len(orjson.loads(answers(f"{made.stub_url}/stub/calls") or b"{}").get("paid_twice", {}))


class Kill:
    """Kills a part at a moment of the load, and starts it again."""

    def __init__(self, made: Fleet, fault: str, after: float) -> None:
        self._fleet = made
        self._fault = fault
        self._after = after
        self._thread: threading.Thread | None = None
        self._failure: RelayError | None = None
        self.at = 0.0  # when it was gone, of the monotonic clock: no outcome after that is its own

    def schedule(self, start: float) -> None:
        """Do it `after` seconds from the start of the load, in a thread."""
        self._thread = threading.Thread(target=self._do, args=(start + self._after,), name="kill")
        self._thread.start()

    def wait(self) -> None:
        """Wait until it is done and the part is in service again. Raises `RelayError` where it did not come back."""
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _do(self, moment: float) -> None:
        try:
            self._kill_and_revive(moment)
        except RelayError as error:  # told by `wait`, to whom a thread can't raise
            self._failure = error

    def _kill_and_revive(self, moment: float) -> None:
        time.sleep(max(0.0, moment - time.monotonic()))
        if self._fault == "broker":
            self._fleet.kafka.kill()
            self.at = time.monotonic()
            time.sleep(RESTARTED_AFTER)
            self._fleet.kafka.start()
            return
        name = _PARTS.get(self._fault, self._fault)
        self._fleet.kill(name)
        self.at = time.monotonic()
        time.sleep(RESTARTED_AFTER)
        self._fleet.revive(name)
        self._fleet.until_ready(self._fleet.parts[name])


def judged(fault: str, traffic: Traffic, kill: float, paid_twice: int | None) -> Recovery:
    """What it cost. `kill` is seconds from the start of the load."""
    taken = (traffic.arrived - traffic.intended) * 1000
    return Recovery(
        fault=fault,
        sent=len(traffic.intended) - len(traffic.unsent),
        lost=traffic.lost,
        duplicates=traffic.duplicates,
        paid_twice=paid_twice,
        failed=traffic.errors,
        first_outcome_s=first_outcome(traffic.intended, traffic.arrived, kill),
        full_recovery_s=full_recovery(traffic.intended, traffic.arrived, kill),
        worst_ms=float(np.nanmax(taken)) if len(traffic.outcomes) else 0.0,
    )


def first_outcome(intended: Floats, arrived: Floats, kill: float) -> float | None:
    """Seconds from the kill to the first outcome of a message that was sent after it; None where there is none.

    What was sent before may still come out of what was not killed, so it proves nothing.
    """
    later = arrived[(intended >= kill) & ~np.isnan(arrived)]
    return round(float(later.min()) - kill, 3) if len(later) else None


def full_recovery(intended: Floats, arrived: Floats, kill: float) -> float | None:
    """Seconds from the kill until no more messages are waiting than before it; None where that was not reached."""
    moments = np.arange(0.0, float(np.nanmax(arrived, initial=0.0)) + _STEP, _STEP)
    waiting = backlog(intended, arrived, moments)
    usual = waiting[(moments > kill / 3) & (moments < kill)].max(initial=0)
    first = first_outcome(intended, arrived, kill)
    if first is None:
        return None
    settled = moments[(moments >= kill + first) & (waiting <= usual)]
    return round(float(settled[0]) - kill, 3) if len(settled) else None


def backlog(intended: Floats, arrived: Floats, moments: Floats) -> Floats:
    """How many messages are sent and have no outcome, at each moment."""
    sent = np.searchsorted(intended, moments, side="right")
    came = np.searchsorted(np.sort(arrived[~np.isnan(arrived)]), moments, side="right")
    return (sent - came).astype(np.float64)


def time_line(traffic: Traffic, kill: float) -> list[dict[str, float]]:
    """Every fifth of a second until the last outcome: outcomes a second, and messages waiting."""
    step = 0.2
    arrived = np.sort(traffic.arrived[~np.isnan(traffic.arrived)])
    moments = np.arange(0.0, max(traffic.load.seconds, arrived.max(initial=0.0) + step), step)
    waiting = backlog(traffic.intended, traffic.arrived, moments)
    edges = np.searchsorted(arrived, [*moments, moments[-1] + step])
    rates = np.diff(edges) / step
    return [
        {"second": round(float(at - kill), 2), "outcomes": float(rate), "waiting": float(count)}
        for at, rate, count in zip(moments, rates, waiting, strict=True)
    ]


def totals(rows: Sequence[Recovery]) -> dict[str, Any]:
    """All faults together: sums of messages, and the worst of the times."""

    def worst(values: list[float | None]) -> float | None:
        return None if None in values or not values else max(value for value in values if value is not None)

    return {
        "sent": sum(row.sent for row in rows),
        "lost": sum(row.lost for row in rows),
        "duplicates": sum(row.duplicates for row in rows),
        "paid_twice": sum(row.paid_twice or 0 for row in rows),
        "first_outcome_s": worst([row.first_outcome_s for row in rows]),
        "full_recovery_s": worst([row.full_recovery_s for row in rows]),
    }


def in_words(row: Recovery) -> str:
    """One line."""
    first = "none" if row.first_outcome_s is None else f"{row.first_outcome_s:.1f} s"
    full = "not reached" if row.full_recovery_s is None else f"{row.full_recovery_s:.1f} s"
    twice = "not counted" if row.paid_twice is None else str(row.paid_twice)
    return (
        f"{row.fault} killed: sent {row.sent}, lost {row.lost}, duplicates {row.duplicates}, paid twice {twice},"
        f" failed {row.failed}; first outcome after {first}, all of it after {full}"
    )
