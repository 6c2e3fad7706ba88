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

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """Requests a second for the added latency; users at once and the model's milliseconds for the rest. Seconds."""

    rate: float = 200.0
    users: tuple[int, ...] = (500, 1000)
    delay_ms: float = 200.0
    seconds: float = 15.0
    runs: int = 5


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
            seen[name].append(call(replace(spec, seed=number + 1), made.pids()))
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
    """The same text over HTTP/JSON and over gRPC: bytes between client and gateway, and the gateway's CPU."""
    rows = {}
    for name, port in (("http", made.gateway_port), ("grpc", made.grpc_port)):
        runs = [_counted(made, plan, name, port) for _ in range(plan.runs)]
        rows[name] = {each: median(run[each] for run in runs) for each in runs[0]}
        bytes_, cpu = rows[name]["bytes"], rows[name]["gateway_us"]
        say(f"{name}: {bytes_:,.0f} bytes, {cpu:,.0f} us of the gateway's CPU a message")
    saved = {
        "bytes": 1 - rows["grpc"]["bytes"] / rows["http"]["bytes"],
        "cpu": 1 - rows["grpc"]["gateway_us"] / rows["http"]["gateway_us"],
    }
    return {**rows, "saved": saved}


def _counted(made: Fleet, plan: Plan, name: str, port: int) -> dict[str, float]:
    with CountedWay(port) as way:
        spec: Spec | GrpcSpec
        if name == "http":
            url = f"http://127.0.0.1:{way.port}/api/forward"
            spec = Spec(url, FORWARD, 0.0, plan.seconds, "", plan.rate)
        else:
            spec = GrpcSpec(f"127.0.0.1:{way.port}", "测试消息", 0.0, plan.seconds, "", plan.rate)
        calls = call(spec, {"gateway": made.parts["gateway"].pid})
    count = max(1, len(calls.status))
    use = calls.summary()["cpu_us_a_message"]
    return {
        "bytes": way.bytes / count,
        "gateway_us": use["gateway"],
        "client_us": use["load"],
        "p50": _quantile(calls, "p50"),
        "p99": _quantile(calls, "p99"),
        "errors": float(calls.errors),
    }


def _quantile(calls: Calls, at: str) -> float:
    return float(calls.summary()["latency_ms"].get(at, "inf"))


def _at_once(made: Fleet, plan: Plan, users: int, say: Say) -> dict[str, Any]:
    """So many users, each with one request under way all the time."""
    spec = Spec(f"{made.gateway_url}/api/forward", FORWARD, 0.0, plan.seconds, "", users=users)
    call(replace(spec, seconds=3.0), {})
    runs = [call(spec, made.pids(), 3.0) for _ in range(plan.runs)]
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
