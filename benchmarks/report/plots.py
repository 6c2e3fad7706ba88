"""The drawings: each takes numbers and gives SVG."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.report.canvas import (
    COLOURS,
    FAINT,
    GRID,
    INK,
    canvas,
    colours,
    legend,
    limit,
    logarithmic,
    thousands,
)

_APART = 8.0  # times; curves further apart than this need a logarithmic axis to be seen
_SHORT = 5 / 60  # hours that are told in seconds


def by_quantile(curves: Mapping[str, Sequence[tuple[float, float]]], limits: Mapping[str, float]) -> str:
    """Latency over the nines: each step to the right is ten times as rare. `limits` are drawn as lines."""
    highest = [max(value for _, value in points) for points in curves.values() if points]
    with canvas() as drawing:
        (axes,) = drawing.axes
        deepest = 1.0
        for colour, (name, points) in zip(colours(), curves.items(), strict=False):
            x = [-np.log10(1 - quantile) if quantile else 0.0 for quantile, _ in points]
            axes.plot(x, [value for _, value in points], label=name, color=colour)
            deepest = max(deepest, *x) if x else deepest
        for name, value in limits.items():
            limit(axes, value, name)
        ticks = list(range(int(deepest) + 1))
        axes.set_xticks(ticks, [_nines(tick) for tick in ticks])
        axes.set_xlim(0, deepest)
        if highest and max(highest) > _APART * min(highest):
            logarithmic(axes)
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlabel("share of messages (log of nines)")
        axes.set_ylabel("latency, ms")
        legend(axes)
    return drawing.svg


def _nines(tick: int) -> str:
    return f"{100 * (1 - 10**-tick):.{max(0, tick - 2)}f} %"


def over_time(rows: Sequence[Mapping[str, float]], offered: float | None) -> str:
    """Throughput above, latency below, by second."""
    seconds = [row["second"] for row in rows]
    with canvas(2, 4.6) as drawing:
        rate, latency = drawing.axes
        rate.step(seconds, [row["outcomes"] for row in rows], where="mid", color=COLOURS[0])
        if offered:
            limit(rate, offered, "offered")
        rate.set_ylim(0, 1.2 * max([offered or 0.0, *(row["outcomes"] for row in rows)], default=1.0))
        rate.set_ylabel("messages/s")
        for colour, name in zip(colours(), ("p50", "p99", "max"), strict=False):
            latency.plot(seconds, [row.get(name, np.nan) for row in rows], label=name, color=colour)
        logarithmic(latency)
        latency.set_ylabel("latency, ms")
        latency.set_xlabel("seconds")
        legend(latency)
    return drawing.svg


def sweep(lines: Mapping[str, Sequence[Mapping[str, Any]]], knees: Mapping[str, float | None]) -> str:
    """What came of what was offered, and the p99; the knee is marked."""
    with canvas(2, 4.8) as drawing:
        rate, latency = drawing.axes
        for colour, (name, points) in zip(colours(), lines.items(), strict=False):
            offered = [point["offered"] for point in points]
            rate.plot(offered, [point["achieved"] for point in points], "o-", color=colour, label=name)
            p99 = [point["latency_ms"].get("p99", np.nan) for point in points]
            latency.plot(offered, p99, "o-", color=colour, label=f"{name}, p99")
            if knees.get(name):
                for axes in (rate, latency):
                    axes.axvline(float(knees[name] or 0), color=colour, linestyle=":", linewidth=1.2)
                rate.annotate(
                    f"knee: {knees[name]:,.0f}/s",
                    (float(knees[name] or 0), 0.04),
                    xycoords=("data", "axes fraction"),
                    xytext=(4, 0),
                    textcoords="offset points",
                    color=colour,
                )
        longest = max((point["offered"] for points in lines.values() for point in points), default=1.0)
        rate.plot(
            [0, longest], [0, longest], color=FAINT, linewidth=1, linestyle="--", label="all that is offered"
        )
        rate.set_ylim(bottom=0)
        rate.set_ylabel("outcomes/s")
        logarithmic(latency)
        latency.set_ylabel("p99 of latency, ms")
        latency.set_xlabel("messages/s offered")
        thousands(latency)
        legend(rate)
    return drawing.svg


def ramp(kinds: Mapping[str, Mapping[str, Any]]) -> str:
    """Latency and errors over the number of users."""
    with canvas(2, 4.8) as drawing:
        latency, rate = drawing.axes
        for colour, (name, found) in zip(colours(), kinds.items(), strict=False):
            steps = [step for step in found["steps"] if step["requests"]]
            users = [step["users"] for step in steps]
            for at, style in (("p50", "-"), ("p99", "--")):
                values = [step["latency_ms"][at] for step in steps]
                latency.plot(users, values, style, marker="o", color=colour, label=f"{name} {at}")
            rate.plot(users, [step["achieved"] for step in steps], "o-", color=colour, label=name)
            wrong = [step for step in found["steps"] if step["errors"]]
            rate.plot(
                [step["users"] for step in wrong],
                [step["errors"] for step in wrong],
                "x",
                color="#dc2626",
                label="errors",
            )
        latency.set_ylim(bottom=0)
        latency.set_ylabel("latency, ms")
        rate.set_ylim(bottom=0)
        rate.set_ylabel("requests/s")
        rate.set_xlabel("users")
        thousands(rate)
        legend(latency)
    return drawing.svg


def memory(lines: Mapping[str, Sequence[tuple[float, float]]], warmup_hours: float) -> str:
    """Memory of each process over hours; what warms up is shaded."""
    with canvas() as drawing:
        (axes,) = drawing.axes
        longest = max((points[-1][0] for points in lines.values() if points), default=0.0)
        scale, unit = (60.0, "minutes") if longest < 2 else (1.0, "hours")
        if longest < _SHORT:
            scale, unit = 3600.0, "seconds"
        for colour, (name, points) in zip(colours(), lines.items(), strict=False):
            axes.plot([x * scale for x, _ in points], [y for _, y in points], color=colour, label=name)
        axes.axvspan(0, warmup_hours * scale, color=GRID, alpha=0.6, linewidth=0)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(unit)
        axes.set_ylabel("resident memory, MB")
        legend(axes, columns=3)
    return drawing.svg


def recovery(lines: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Outcomes a second around each kill, one plot a fault."""
    with canvas(max(1, len(lines)), 1.0 + 1.15 * len(lines)) as drawing:
        for axes, (name, rows) in zip(drawing.axes, lines.items(), strict=False):
            seconds = [row["second"] for row in rows]
            axes.fill_between(
                seconds,
                [row["outcomes"] for row in rows],
                step="mid",
                color=COLOURS[0],
                alpha=0.85,
                linewidth=0,
            )
            axes.plot(seconds, [row["waiting"] for row in rows], color=COLOURS[1], linewidth=1.2)
            axes.axvline(0, color="#dc2626", linewidth=1.2)
            axes.set_ylim(bottom=0)
            axes.set_ylabel(name, rotation=0, ha="right", va="center")
        drawing.axes[-1].set_xlabel(
            "seconds from the kill; blue: outcomes/s, orange: messages waiting", color=INK
        )
    return drawing.svg


def bars(values: Mapping[str, float], unit: str, ours: Iterable[str] = ()) -> str:
    """One bar each, with its number."""
    mine = set(ours)
    with canvas(1, 0.9 + 0.36 * len(values)) as drawing:
        (axes,) = drawing.axes
        names = list(values)
        shades = [COLOURS[0] if name in mine else FAINT for name in names]
        drawn = axes.barh(names, list(values.values()), color=shades, height=0.62)
        axes.bar_label(drawn, [f"{value:,.0f}" for value in values.values()], padding=4)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.set_xlabel(unit)
        axes.margins(x=0.12)
        thousands(axes)
        axes.spines["left"].set_visible(False)
        axes.tick_params(left=False)
    return drawing.svg


def stacked(rows: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """A bar a row, made of its parts."""
    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    with canvas(1, 1.3 + 0.42 * len(rows)) as drawing:
        (axes,) = drawing.axes
        left = np.zeros(len(rows))
        for colour, part in zip(colours(), parts, strict=False):
            widths = np.asarray([row.get(part, 0.0) for row in rows.values()])
            axes.barh(list(rows), widths, left=left, color=colour, label=part, height=0.62)
            left += widths
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.set_xlabel(unit)
        legend(axes, columns=len(parts))
    return drawing.svg
