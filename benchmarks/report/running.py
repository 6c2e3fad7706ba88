"""What a report says about latency, rates, stages and processes."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from benchmarks.figures import curve, merged
from benchmarks.report import plots
from benchmarks.report.blocks import Block, Figure, Heading, Table, Text, ms, number
from benchmarks.store import Results

Section = Mapping[str, Any]


def run(found: Section, results: Results) -> list[Block]:
    ways = {name: found[name] for name in ("topic", "gateway") if name in found}
    curves = {}
    for name, way in ways.items():
        if way["steady"]:
            whole = merged(run["histogram"] for run in way["steady"])
            curves[f"{name}, {way['steady'][0]['offered']:,.0f}/s"] = curve(whole)
        curves[f"{name}, one at a time"] = curve(merged([way["baseline"]["histogram"]]))
    made: list[Block] = [
        Heading("Latency and rate"),
        Text(
            "Open loop: every message has an intended time of sending, and its latency counts from then, "
            "whatever happened to earlier ones. The backend answers without delay; it alone could answer "
            f"{found['backend_ceiling']:,.0f} calls a second. The lag is what the router's and the worker's groups "
            "have not committed near the end of the load, in records."
        ),
        Table(
            _COLUMNS,
            list(chain.from_iterable(_latency_rows(name, way) for name, way in ways.items())),
        ),
        Figure("latency", "latency by quantile, log of nines", plots.by_quantile(curves, {})),
    ]
    for name, way in ways.items():
        if way["steady"]:
            last = way["steady"][-1]
            drawn = plots.over_time(last["over_time"], last["offered"])
            made.append(Figure(f"over-time-{name}", f"{name}: throughput and latency by second", drawn))
    made += _rates(ways) + _stages(ways) + _processes(ways)
    return made


_QUANTILES = ("p50", "p90", "p99", "p99.9", "max")
_COLUMNS = (
    "",
    "offered/s",
    "came/s",
    *(f"{at} ms" for at in _QUANTILES),
    "errors",
    "error rate",
    "lost",
    "lag",
)


def _latency_rows(name: str, way: Section) -> list[Sequence[str]]:
    rows = [_latency_row(f"{name}, one at a time", way["baseline"])]
    return rows + [
        _latency_row(f"{name}, run {number}", run) for number, run in enumerate(way["steady"], start=1)
    ]


def _latency_row(name: str, run: Section) -> Sequence[str]:
    latency = run["latency_ms"]
    quantiles = [ms(latency.get(at)) for at in _QUANTILES]
    wrong = (number(run["errors"]), number(run["error_rate"] * 100, 2, " %"))
    told = (number(run.get("lost")), number(run.get("lag")))
    return (name, number(run["offered"]), number(run["achieved"]), *quantiles, *wrong, *told)


def _rates(ways: Mapping[str, Section]) -> list[Block]:
    made: list[Block] = []
    swept = {name: way["sweep"] for name, way in ways.items() if way["sweep"]}
    if swept:
        knees = {name: ways[name]["knee"] for name in swept}
        said = "; ".join(f"{name}: {_knee(ways[name])}" for name in swept)
        made += [
            Heading("Rising rates", 3),
            Text(
                "The knee is the highest rate up to which everything that was offered came and p99 stayed "
                f"within ten times its best. {said}."
            ),
            Figure("sweep", "rates offered and reached, with the knee", plots.sweep(swept, knees)),
            Table(
                _COLUMNS[:-2],
                [_latency_row(name, point)[:-2] for name, points in swept.items() for point in points],
            ),
        ]
    if "burst_rate" in ways.get("topic", {}):
        rate = ways["topic"]["burst_rate"]
        made.append(
            Text(
                f"As fast as it goes, topic to topic: {number(rate['median'])} messages/s (median of "
                f"{rate['runs']}, {number(rate['low'])} to {number(rate['high'])})."
            )
        )
    return made


def _knee(way: Section) -> str:
    rates = [point["offered"] for point in way["sweep"]]
    if way["knee"] is None:
        return f"below {number(min(rates))}/s, the lowest that was tried ({way['bottleneck']})"
    if way["knee"] == max(rates):
        return f"not reached at {number(max(rates))}/s"
    return f"{number(way['knee'])}/s; at {number(max(rates))}/s the bottleneck was {way['bottleneck']}"


def _stages(ways: Mapping[str, Section]) -> list[Block]:
    rows = {}
    for name, way in ways.items():
        if way["steady"] and way["steady"][-1]["stages_ms"]:
            stages = way["steady"][-1]["stages_ms"]
            known = ((stage, stages[stage]["mean"]) for stage in _STAGES if stage in stages)
            rows[name] = {_STAGES[stage]: mean for stage, mean in known}
    if not rows:
        return []
    cells = [(name, *(ms(rows[name].get(title)) for title in _STAGES.values())) for name in rows]
    made: list[Block] = [
        Heading("Where the time goes", 3),
        Figure("stages", "mean milliseconds of each stage", plots.stacked(rows, "milliseconds, mean")),
        Table(("mean ms", *_STAGES.values()), cells),
    ]
    wait = ways.get("topic", {}).get("queue_wait_ms")
    if wait:
        made.append(
            Text(
                f"Of the way to the target's topic, {ms(wait['mean'])} ms were the wait in the requests' topic "
                "(from the log events); the rest is the router's work."
            )
        )
    return made


_STAGES = {
    "to_router": "queue and router",
    "to_worker": "target queue",
    "model": "model",
    "worker": "worker",
    "publish": "publish and read",
}


def _processes(ways: Mapping[str, Section]) -> list[Block]:
    rows = []
    for name, way in ways.items():
        if not way["steady"]:
            continue
        last = way["steady"][-1]
        for process, use in last["processes"].items():
            micros = last["cpu_us_a_message"].get(process)
            cells = (number(use["cpu_share"] * 100, 0, " %"), number(micros), number(use["rss_max_mb"]))
            rows.append((f"{name}: {process}", *cells))
    made: list[Block] = [
        Heading("CPU and memory of every process", 3),
        Table(("", "CPU of a core", "CPU us a message", "memory MB, most"), rows),
    ]
    steady = ways.get("topic", {}).get("steady")
    if steady:
        bytes_ = steady[-1]["bytes_a_message"]
        made.append(
            Text(
                f"A response has {number(bytes_['response'])} bytes; {number(bytes_['loopback'])} bytes a message "
                "crossed the loopback interface, all processes of the machine together."
            )
        )
    return made
