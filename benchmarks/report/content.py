"""From results to what a report says: one function a section."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from benchmarks.figures import curve, merged
from benchmarks.machine import shared
from benchmarks.report import plots
from benchmarks.report.blocks import Block, Code, Figure, Heading, Table, Text, ms, number
from benchmarks.report.endurance import recover, soak
from benchmarks.report.running import run
from benchmarks.store import SECTIONS, Results
from benchmarks.targets import reached

Section = Mapping[str, Any]

_MARKS = {True: "reached", False: "not reached", None: "–"}


def blocks(results: Results) -> list[Block]:
    """The whole report."""
    sections = results.sections()
    made = [*_head(sections), *_targets(sections)]
    for name, content in sections.items():
        made += _drawn(name, content["results"], results)
    return [*made, *_settings(sections)]


def _drawn(name: str, found: Section, results: Results) -> list[Block]:
    """A section; one that another version measured does not keep the others from being drawn."""
    try:
        return _SECTIONS[name](found, results)
    except (LookupError, TypeError, ValueError) as error:
        why = f"`{name}.json` lacks what this report shows ({error!r}): measure it again."
        return [Heading(name), Text(why)]


def _head(sections: Mapping[str, Section]) -> list[Block]:
    first = next(iter(sections.values()))["machine"]
    when = datetime.fromtimestamp(first["began"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    where = f"{first['cores']} cores ({first['cpu']}), {first['memory_gb']:g} GB, {first['system']}"
    said: list[Block] = [
        Text(
            f"{when}. {where}; Python {first['python']}, Kafka {first['versions']['kafka']}. Broker, Redis, "
            "backend, load and measurement all ran on this machine, with every guarantee switched on."
        )
    ]
    missing = [name for name in SECTIONS if name not in sections]
    if missing:
        said.append(Text(f"Left out or failed: {', '.join(missing)}."))
    return [*said, *_others(sections)]


def _others(sections: Mapping[str, Section]) -> list[Block]:
    """Whether the machine was ours alone."""
    said = []
    machines = {name: content["machine"] for name, content in sections.items()}
    busy = [f"{name} {each['others_before']:g}" for name, each in machines.items() if shared(each)]
    unknown = [name for name, each in machines.items() if shared(each) is None]
    if busy:
        said.append(
            "Other processes used the machine in the second before these sections began, in cores: "
            f"{', '.join(busy)}. Figures are then too low, and vary more than they would alone."
        )
    if unknown:
        said.append(f"What other processes used was not measured before: {', '.join(unknown)}.")
    return [Text(text) for text in said]


def _targets(sections: Mapping[str, Section]) -> list[Block]:
    rows = [(row.what, row.goal, row.measured, _MARKS[row.met]) for row in reached(sections)]
    return [
        Heading("What was to be reached"),
        Table(("what", "goal", "measured", ""), rows),
    ]


def _scaling(found: Section, _: Results) -> list[Block]:
    rows = [
        (
            number(row["in_flight"]),
            number(row["workers"]),
            number(row["rate"]),
            f"{number(row['spread']['low'])} to {number(row['spread']['high'])}",
            number(row["the_delay_allows"]),
            number(row["of_linear"] * 100, 0, " %"),
            row["bottleneck"],
        )
        for row in found["rows"]
    ]
    columns = ("in flight each", "workers", "messages/s", "spread", "delay allows", "of linear", "bottleneck")
    said = (
        "Linear is the rate of one worker times their number. With 1,000 calls in flight one worker takes so much of a "
        "machine of few cores that several fill it; 100 in flight leave it room."
    )
    return [Heading("More worker processes"), Text(said), Table(columns, rows)]


def _parts(found: Section, _: Results) -> list[Block]:
    made: list[Block] = [Heading("The parts by themselves")]
    for name, part in found.items():
        said = part["output"].rstrip() if not part["exit_code"] else f"failed: {part.get('why', '')[-500:]}"
        made += [Heading(name.replace("_", " "), 3), Code(f"$ {part['command']}\n{said}")]
    return made


def _gateway(found: Section, _: Results) -> list[Block]:
    added = found["added"]
    rows = [
        (title, *(ms(added[name][at]["median"]) for at in ("p50", "p99"))) for name, title in _WAYS.items()
    ]
    crowd = [
        (
            number(row["users"]),
            number(row["rate"]["median"]),
            ms(row["p99"]["median"]),
            f"{ms(row['p99']['low'])} to {ms(row['p99']['high'])}",
            number(row["errors"]),
        )
        for row in found["at_once"]
    ]
    wires = [
        (title, *(number(found["grpc"][name][key], digits) for key, digits in _WIRE.items()))
        for name, title in _WIRES.items()
    ]
    curves = {
        f"{row['users']} users": curve(merged(run["histogram"] for run in row["runs"]))
        for row in found["at_once"]
    }
    return [
        Heading("The gateway"),
        Text(f"What it adds, at {added['rate']:,.0f} requests/s to a backend without delay:"),
        Table(("", "p50 ms", "p99 ms"), rows),
        *_streamed(found["streamed"]),
        Text(
            f"The same question over HTTP and over gRPC, {found['grpc']['rate']:,.0f} a second; on the stream "
            "questions are gathered for 5 ms. Bytes are counted between client and gateway, at a lower rate:"
        ),
        Table(("", "bytes", "gateway CPU us", "client CPU us", "p50 ms", "p99 ms", "errors"), wires),
        Text("Many users at once, each with one request under way all the time, model 200 ms:"),
        Table(("users", "requests/s", "p99 ms", "spread", "errors"), crowd),
        Figure("at-once", "latency of many users at once", plots.by_quantile(curves, {"260 ms": 260.0})),
    ]


def _streamed(found: Section) -> list[Block]:
    rows = [
        (
            title,
            *(ms(found[way]["first_ms"].get(at)) for at in ("p50", "p99")),
            *(ms(found[way]["whole_ms"].get(at)) for at in ("p50", "p99")),
            number(found[way]["pieces"], 1),
            number(found[way]["pieces_a_second"]),
            number(found[way]["errors"]),
        )
        for way, title in _WAYS.items()
    ]
    columns = ("", "first p50 ms", "p99 ms", "whole p50 ms", "p99 ms", "events each", "events/s", "errors")
    said = (
        f"Streamed answers (server-sent events), {found['rate']:,.0f} a second, each from a backend that sends a piece "
        f"every {found['every_ms']:g} ms; the time to the first piece, and to the whole answer:"
    )
    return [Text(said), Table(columns, rows)]


_WAYS = {"direct": "the backend directly", "through": "through gateway, Kafka and worker"}
_WIRES = {"http": "HTTP, JSON", "grpc": "gRPC, a call each", "many": "gRPC, ConverseMany"}
_WIRE = {"bytes": 0, "gateway_us": 0, "client_us": 0, "p50": 1, "p99": 1, "errors": 0}


def _ramp(found: Section, _: Results) -> list[Block]:
    made: list[Block] = [
        Heading("More and more users"),
        Figure("ramp", "latency and rate over users", plots.ramp(found)),
    ]
    for kind, each in found.items():
        bend = "does not bend" if each["bends_at"] is None else f"bends at {each['bends_at']} users"
        wrong = "none" if each["errors_from"] is None else f"from {each['errors_from']} users"
        said = f"{kind}: latency {bend}; errors: {wrong}. Bottleneck: {each['bottleneck']}."
        if each["generator_was_busy"]:
            said += " The load generator itself was busy, so these latencies are an upper bound."
        rows = [
            (
                number(step["users"]),
                number(step["achieved"]),
                *(ms(step["latency_ms"].get(at)) for at in ("p50", "p99", "max")),
                number(step["errors"]),
            )
            for step in each["steps"]
        ]
        made += [Text(said), Table(("users", "requests/s", "p50 ms", "p99 ms", "max ms", "errors"), rows)]
    return made


def _peers(found: Section, _: Results) -> list[Block]:
    gateways = ("relayfleet gateway", "litellm")
    topic = {name: rate for name, rate in found["rates"].items() if name not in gateways}
    rows = [
        (name, number(rate), _between(found["spread"][name]), _ratio(found["ratios"].get(name)))
        for name, rate in found["rates"].items()
    ]
    features = found["features"]
    titles = list(next(iter(features.values())))
    marks = [(name, *("yes" if has else "" for has in each.values())) for name, each in features.items()]
    left_out = [Text(f"Left out: {name}: {why}") for name, why in found["skipped"].items()]
    return [
        Heading("Beside others"),
        Text(
            "The same messages on the same broker, calling the same backend without delay "
            f"({found['backend_ceiling']:,.0f} calls a second at most), one process each, turn by turn."
        ),
        Figure("peers", "messages a second", plots.bars(topic, "messages/s", ("relayfleet",))),
        Table(("", "a second", "spread", "ours is"), rows),
        *left_out,
        Text("What each has switched on meanwhile:"),
        Table(("", *titles), marks),
    ]


def _between(spread: Section) -> str:
    return f"{number(spread['low'])} to {number(spread['high'])}"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f} x"


def _settings(sections: Mapping[str, Section]) -> list[Block]:
    versions = next(iter(sections.values()))["machine"]["versions"]
    rows = [
        (
            name,
            number(content.get("seconds"), 0, " s"),
            content["machine"]["commit"] or "–",
            _flat(content["settings"]),
        )
        for name, content in sections.items()
    ]
    return [
        Heading("Machine, versions, settings"),
        Table(("package", "version"), list(versions.items())),
        Table(("section", "took", "commit", "settings"), rows),
        Text("Raw data lies beside this report: `*.json`, and what was sampled in `raw/`."),
    ]


def _flat(settings: Section) -> str:
    """`rate=1000, seed=1, …`"""
    plan = settings.get("plan", {})
    return ", ".join(f"{name}={value}" for name, value in plan.items())


_SECTIONS: Mapping[str, Callable[[Section, Results], list[Block]]] = {
    "run": run,
    "scaling": _scaling,
    "parts": _parts,
    "gateway": _gateway,
    "ramp": _ramp,
    "soak": soak,
    "recover": recover,
    "peers": _peers,
}
