"""Two runs beside each other: each figure's ratio with the interval that holds it at 95 %."""

from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from typing import Any

import numpy as np

from benchmarks.figures import Difference, Floats, at_percentile, compare
from benchmarks.report.blocks import Block, Heading, Table, Text, number
from benchmarks.store import Results

_QUANTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0}


def differences(a: Results, b: Results) -> dict[str, Difference]:
    """B against A, of what both have: latencies from topic to topic by second, all else by run."""
    return {**dict(_latencies(a, b)), **dict(_by_run(a, b))}


def blocks(a: Results, b: Results) -> list[Block]:
    """A section of the report."""
    rows = [
        (
            name,
            number(each.a, 1),
            number(each.b, 1),
            f"{each.ratio:.2f}",
            *_sure(each),
        )
        for name, each in differences(a, b).items()
    ]
    return [
        Heading("Two runs compared"),
        Text(
            f"A is `{a.directory.name}`, B is `{b.directory.name}`. Latencies from topic to topic are resampled by "
            "whole seconds, all else by whole runs; the interval holds the ratio B / A at 95 %."
        ),
        Table(("", "A", "B", "B / A", "95 %", ""), rows),
    ]


def _sure(each: Difference) -> tuple[str, str]:
    if isnan(each.low):
        return "–", "too few runs to tell"
    return f"{each.low:.2f} to {each.high:.2f}", "differs" if each.differs else "could be chance"


def _latencies(a: Results, b: Results) -> Iterator[tuple[str, Difference]]:
    seconds = [_seconds(results) for results in (a, b)]
    if all(seconds):
        for name, percentile in _QUANTILES.items():
            yield f"topic to topic, {name} ms", compare(seconds[0], seconds[1], at_percentile(percentile))


def _seconds(results: Results) -> list[Floats]:
    """The latencies of all steady runs, cut into seconds."""
    cut: list[Floats] = []
    number = 0
    while (kept := results.arrays(f"run-topic-{number}")) is not None:
        whole = kept["intended_s"].astype(int)
        cut += [kept["latency_ms"][whole == second].astype(np.float64) for second in np.unique(whole)]
        number += 1
    return cut


def _by_run(a: Results, b: Results) -> Iterator[tuple[str, Difference]]:
    found = [dict(_runs(results.sections())) for results in (a, b)]
    for name in (name for name in found[0] if name in found[1]):
        one, other = ([np.asarray([figure]) for figure in each[name]] for each in found)
        yield name, compare(one, other, lambda values: float(np.median(values)))


def _runs(sections: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Sequence[float]]]:
    if "run" in sections:
        bursts = sections["run"]["results"]["topic"]["burst"]
        yield "topic to topic, messages/s at most", [run["rate"] for run in bursts]
        steady = sections["run"]["results"].get("gateway", {}).get("steady", ())
        for name in _QUANTILES if steady else ():
            yield f"gateway, {name} ms", [run["latency_ms"][name] for run in steady]
    if "gateway" in sections:
        for row in sections["gateway"]["results"]["at_once"]:
            yield f"gateway, {row['users']} users, requests/s", [run["achieved"] for run in row["runs"]]
            yield f"gateway, {row['users']} users, p99 ms", [run["latency_ms"]["p99"] for run in row["runs"]]
