"""What the gateway costs beside calling the backend directly, and many users at once."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import inf
from statistics import median
from typing import Any

from benchmarks.brokers import Broker
from benchmarks.figures import spread
from benchmarks.fleet import Fleet, Shape, fleet
from benchmarks.load.calls import FORWARD, Calls, call
from benchmarks.load.counting import CountedWay
from benchmarks.load.grpc import Spec as GrpcSpec
from benchmarks.load.http import Spec
from benchmarks.store import Results

_PIECES_EVERY = 10.0  # milliseconds between the pieces of a streamed answer
_STREAMS = 0.25  # of the plan's rate: every one is a dozen of events
_CHAT = '{"model": "stub", "messages": [{"role": "user", "content": "测试消息"}]}'

_COUNTED_SECONDS = 4.0
_WIRES = {"http": 0.0, "grpc": 0.0, "many": 0.005}
"""Ways to ask, and for how many seconds questions are gathered."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """Requests a second for the added latency; users at once and the model's milliseconds for the rest. Seconds."""

    rate: float = 200.0
    busy: float = 1000.0  # requests a second where HTTP and gRPC are compared
    users: tuple[int, ...] = (500, 1000)
    delay_ms: float = 200.0
    seconds: float = 15.0
    runs: int = 5
    seed: int = 1


def gateway(kafka: Broker, plan: Plan, results: Results, say: Say) -> dict[str, Any]:
    """Measure, save, and return what was found."""
    with fleet(kafka, Shape(gateways=1, stub={"chunk-delay-ms": _PIECES_EVERY})) as made:
        found: dict[str, Any] = {"added": _added(made, plan, say), "grpc": _beside_grpc(made, plan, say)}
        found["streamed"] = _streamed(made, plan, say)
    shape = Shape(gateways=1, concurrency=max(plan.users), stub={"delay-ms": plan.delay_ms})
    with fleet(kafka, shape) as made:
        found["at_once"] = [_at_once(made, plan, users, say) for users in plan.users]
    results.save("gateway", {"plan": asdict(plan), "fleet": shape.as_dict()}, found)
    return found


def _added(made: Fleet, plan: Plan, say: Say) -> dict[str, Any]:
    """The same rate to the backend and through the gateway, turn by turn, backend without delay."""
    ways = {
        "direct": Spec(f"{made.stub_url}/v1/chat/completions", _CHAT, 0.0, plan.seconds, "", plan.rate),
        "through": Spec(f"{made.gateway_url}/api/forward", FORWARD, 0.0, plan.seconds, "", plan.rate),
    }
    call(replace(ways["through"], seconds=3.0), {})
    seen: dict[str, list[Calls]] = {name: [] for name in ways}
    for number in range(plan.runs):
        for name, spec in ways.items():
            seen[name].append(call(replace(spec, seed=plan.seed + number), made.pids()))
    rows = {
        name: {at: asdict(spread([_quantile(each, at) for each in found])) for at in ("p50", "p99")}
        for name, found in seen.items()
    }
    direct, through = rows["direct"]["p50"]["median"], rows["through"]["p50"]["median"]
    say(f"{plan.rate:,.0f} requests/s: directly p50 {direct:.1f} ms, through the fleet {through:.1f} ms")
    return {"rate": plan.rate, **rows}


def _streamed(made: Fleet, plan: Plan, say: Say) -> dict[str, Any]:
    """Answers as server-sent events, directly and through the fleet; once, they are many."""
    chat = f'{_CHAT[:-1]}, "stream": true}}'
    rate = plan.rate * _STREAMS
    common = Spec("", "", 0.0, plan.seconds, "", rate, stream=True)
    ways = {
        "direct": replace(common, url=f"{made.stub_url}/v1/chat/completions", body=chat),
        "through": replace(common, url=f"{made.gateway_url}/api/forward?stream=true", body=FORWARD),
    }
    rows = {name: call(spec, made.pids()).streamed() for name, spec in ways.items()}
    first, whole = rows["through"]["first_ms"], rows["through"]["whole_ms"]
    say(
        f"{rate:,.0f} streams/s: first piece p50 {first.get('p50', inf):.1f} ms, "
        f"whole answer p50 {whole.get('p50', inf):.1f} ms, {rows['through']['errors']} errors"
    )
    return {"rate": rate, "every_ms": _PIECES_EVERY, **rows}


def _beside_grpc(made: Fleet, plan: Plan, say: Say) -> dict[str, Any]:
    """The same text over HTTP/JSON and over gRPC, turn by turn: bytes between client and gateway, and CPU of both."""
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in _WIRES}
    for _ in range(plan.runs):
        for way, found in runs.items():
            found.append(_cost(made, plan, way))
    rows = {
        way: {each: median(run[each] for run in found) for each in found[0]} for way, found in runs.items()
    }
    for way, row in rows.items():
        row["bytes"] = _bytes(made, plan, way)
        say(f"{way}: {row['bytes']:,.0f} bytes, {row['gateway_us']:,.0f} us of the gateway's CPU a message")
    return {"rate": plan.busy, **rows, "saved": {way: _saved(rows, way) for way in _WIRES if way != "http"}}


def _saved(rows: dict[str, dict[str, float]], way: str) -> dict[str, float]:
    """Shares of what HTTP takes."""
    keys = {"bytes": "bytes", "cpu": "gateway_us", "client_cpu": "client_us"}
    return {name: 1 - rows[way][key] / rows["http"][key] for name, key in keys.items()}


def _bytes(made: Fleet, plan: Plan, way: str) -> float:
    """A message's, both directions. Whoever counts them takes CPU himself, and asks for less at once."""
    with CountedWay(made.gateway_port if way == "http" else made.grpc_port) as counted:
        calls = call(_asking(way, counted.port, plan.rate, _COUNTED_SECONDS), {})
    return counted.bytes / max(1, len(calls.status))


def _cost(made: Fleet, plan: Plan, way: str) -> dict[str, float]:
    port = made.gateway_port if way == "http" else made.grpc_port
    calls = call(_asking(way, port, plan.busy, plan.seconds), {"gateway": made.parts["gateway"].pid})
    use = calls.summary()["cpu_us_a_message"]
    return {
        "gateway_us": use["gateway"],
        "client_us": use["load"],
        "p50": _quantile(calls, "p50"),
        "p99": _quantile(calls, "p99"),
        "errors": float(calls.errors),
    }


def _asking(way: str, port: int, rate: float, seconds: float) -> Spec | GrpcSpec:
    if way == "http":
        return Spec(f"http://127.0.0.1:{port}/api/forward", FORWARD, 0.0, seconds, "", rate)
    return GrpcSpec(f"127.0.0.1:{port}", "测试消息", 0.0, seconds, "", rate, gather=_WIRES[way])


def _quantile(calls: Calls, at: str) -> float:
    return float(calls.summary()["latency_ms"].get(at, "inf"))


def _at_once(made: Fleet, plan: Plan, users: int, say: Say) -> dict[str, Any]:
    """So many users, each with one request under way all the time."""
    spec = Spec(f"{made.gateway_url}/api/forward", FORWARD, 0.0, plan.seconds, "", users=users)
    call(replace(spec, seconds=3.0), {})
    runs = [call(spec, made.pids(), 2.0) for _ in range(plan.runs)]
    p99 = spread([_quantile(each, "p99") for each in runs])
    rate = spread([each.achieved() for each in runs])
    errors = sum(each.errors for each in runs)
    say(f"{users} users at once: {rate.median:,.0f} requests/s, p99 {p99.median:.0f} ms, {errors} errors")
    return {
        "users": users,
        "p99": asdict(p99),
        "rate": asdict(rate),
        "errors": errors,
        "runs": [each.summary() for each in runs],
    }
