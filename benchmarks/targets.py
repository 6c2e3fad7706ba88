"""What the design wants to reach, and whether a run did. The figures are those of section 12 of the design."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from benchmarks.figures import spread

Sections = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Reached:
    """One goal. `met` is None where it was not measured."""

    what: str
    goal: str
    measured: str
    met: bool | None


@dataclass(frozen=True, slots=True)
class Target:
    """A goal, and how a run's results answer it: text and whether it was met. Raises `LookupError` where they don't."""

    what: str
    goal: str
    look: Callable[[Sections], tuple[str, bool | None]]


def reached(sections: Sections) -> list[Reached]:
    """Every goal against what was measured."""
    rows = []
    for target in TARGETS:
        try:
            measured, met = target.look(sections)
        except (LookupError, TypeError, ValueError, ZeroDivisionError):
            rows.append(Reached(target.what, target.goal, "not measured", None))
        else:
            rows.append(Reached(target.what, target.goal, measured, met))
    return rows


def _results(sections: Sections, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = sections[name]["results"]
    return found


def _one(rows: Sequence[Mapping[str, Any]], **wanted: object) -> Mapping[str, Any]:
    """The row that has these values. Raises `LookupError` where there is none."""
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return found[0]


def _ranging(found: Mapping[str, Any], digits: int = 0) -> str:
    """The median, and where there were several runs, from where to where they went."""
    middle = f"{found['median']:,.{digits}f}"
    if found["runs"] == 1:
        return middle
    return f"{middle} ({found['low']:,.{digits}f} to {found['high']:,.{digits}f})"


def _worker(sections: Sections) -> tuple[str, bool]:
    rate = _results(sections, "peers")["spread"]["relayfleet"]
    return f"{_ranging(rate)}/s", rate["median"] >= 12_000


def _faststream(sections: Sections) -> tuple[str, bool]:
    ratio = _results(sections, "peers")["ratios"]["faststream"]
    return f"{ratio:.1f} x", ratio >= 15


def _bare(sections: Sections) -> tuple[str, bool]:
    ratio = _results(sections, "peers")["ratios"]["bare"]
    return f"{ratio:.0%}", ratio >= 0.5


def _router(sections: Sections) -> tuple[str, bool]:
    output = _results(sections, "parts")["router"]["output"]
    (line,) = (line for line in output.splitlines() if line.startswith("router "))
    rate, spread_of_runs = line.split()[1:3]
    return f"{rate} ({spread_of_runs.replace('-', ' to ')})/s", float(rate.replace(",", "")) >= 15_000


def _chain(sections: Sections) -> tuple[str, bool]:
    rate = _results(sections, "run")["topic"]["burst_rate"]
    return f"{_ranging(rate)}/s", rate["median"] >= 8_000


def _latency(sections: Sections) -> tuple[str, bool]:
    steady = _results(sections, "run")["topic"]["steady"]
    p50, p99 = (asdict(spread([run["latency_ms"][at] for run in steady])) for at in ("p50", "p99"))
    rate = steady[0]["offered"]
    met = p50["median"] <= 8 and p99["median"] <= 25 and rate >= 1000
    return f"p50 {_ranging(p50, 1)} ms, p99 {_ranging(p99, 1)} ms at {rate:,.0f}/s", met


def _at_once(sections: Sections, users: int) -> Mapping[str, Any]:
    return _one(_results(sections, "gateway")["at_once"], users=users)


def _gateway(sections: Sections) -> tuple[str, bool]:
    row = _at_once(sections, 500)
    met = row["p99"]["median"] <= 260 and not row["errors"]
    return f"p99 {_ranging(row['p99'])} ms, {row['errors']} errors", met


def _thousand(sections: Sections) -> tuple[str, bool]:
    found = _results(sections, "ramp")["ForwardUser"]
    last = found["steps"][-1]
    met = last["users"] >= 1000 and found["bends_at"] is None and found["errors_from"] is None
    bend = "no bend" if found["bends_at"] is None else f"p99 more than doubles by {found['bends_at']}"
    wrong = "no errors" if found["errors_from"] is None else f"errors from {found['errors_from']}"
    return f"{last['users']} users: p99 {last['latency_ms']['p99']:.0f} ms, {bend}, {wrong}", met


def _litellm(sections: Sections) -> tuple[str, bool]:
    ratio = _results(sections, "peers")["ratios"]["litellm"]
    return f"{ratio:.1f} x", ratio >= 10


def _grpc(sections: Sections) -> tuple[str, bool]:
    saved = _results(sections, "gateway")["grpc"]["saved"]
    met = any(way["bytes"] >= 0.3 and way["cpu"] >= 0.3 for way in saved.values())
    told = [
        f"{title}: bytes {_less(saved[way]['bytes'])}, CPU {_less(saved[way]['cpu'])}"
        for way, title in (("grpc", "a call each"), ("many", "on one stream"))
    ]
    return "; ".join(told), met


def _less(share: float) -> str:
    return f"{share:.0%} less" if share >= 0 else f"{-share:.0%} more"


def _kill(sections: Sections) -> tuple[str, bool]:
    rows = [row for row in _results(sections, "recover")["faults"] if row["fault"] == "worker"]
    times = spread([inf if row["first_outcome_s"] is None else row["first_outcome_s"] for row in rows])
    lost = sum(row["lost"] for row in rows)
    return f"first after {_ranging(asdict(times), 1)} s, lost {lost}", times.median <= 5 and lost == 0


_AN_HOUR = 0.99  # the first and the last sample lie a little inside of it


def _soak(sections: Sections) -> tuple[str, bool | None]:
    found = _results(sections, "soak")
    slopes = {name: each["rss_mb"] for name, each in found["slopes"].items() if each}
    hours = min((each["hours"] for each in slopes.values()), default=0.0)
    if hours < _AN_HOUR or len(slopes) < len(found["slopes"]):
        return f"only {hours * 60:.0f} minutes after the warm-up", None
    said = ", ".join(f"{name} {each['per_hour'] / each['mean']:+.2%}" for name, each in slopes.items())
    verdicts = {each["verdict"] for each in slopes.values()}
    if verdicts == {"flat"}:
        return said, True
    return (said, False) if "leak" in verdicts else (f"{said}; too near to tell for some", None)


def _scaling(sections: Sections) -> tuple[str, bool | None]:
    """The goal is for 1,000 in flight; 100 are told too: with 1,000 few workers fill a machine of few cores."""
    rows = _results(sections, "scaling")["rows"]
    said = "; ".join(_shares(rows, in_flight) for in_flight in (1000, 100))
    more = [row["of_linear"] >= 0.9 for row in rows if row["in_flight"] == 1000 and row["workers"] > 1]
    return said, all(more) if more else None


def _shares(rows: Sequence[Mapping[str, Any]], in_flight: int) -> str:
    """What each number of workers brought, and how much of linear that is."""
    found = [row for row in rows if row["in_flight"] == in_flight]
    each = ", ".join(f"{row['workers']}: {row['rate']:,.0f}/s ({row['of_linear']:.0%})" for row in found)
    return f"{in_flight:,} in flight: {each or 'not measured'}"


def _classification(sections: Sections) -> tuple[str, bool]:
    micros = _results(sections, "parts")["classification"]["figures"]["microseconds"]
    return f"{_ranging(micros)} us", micros["median"] < 100


TARGETS = (
    Target("worker, one process, backend without delay", "12,000 messages/s", _worker),
    Target("... beside FastStream with httpx", "15 x", _faststream),
    Target("... beside a bare loop", "half of it", _bare),
    Target("router (Faust), lossless, one process", "15,000 messages/s", _router),
    Target("whole chain, topic to topic", "8,000 messages/s", _chain),
    Target("whole chain at 1,000/s, open loop", "p50 8 ms, p99 25 ms", _latency),
    Target("gateway, 500 users at once, model 200 ms", "p99 260 ms, no errors", _gateway),
    Target("gateway, up to 1,000 users", "no breaking point", _thousand),
    Target("gateway beside the LiteLLM proxy", "10 x", _litellm),
    Target("gRPC beside HTTP", "bytes and CPU 30 % less", _grpc),
    Target("kill -9 of a worker under load", "first new outcome within 5 s, lost 0", _kill),
    Target("memory over an hour at 500 users", "slope under 1 % an hour", _soak),
    Target("1, 2, 4 workers, model 200 ms", "1,000 in flight each: within 10 % of linear", _scaling),
    Target("classification, 1,000 keywords and 8 intents", "under 100 us a message", _classification),
)
