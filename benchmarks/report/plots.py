"""The drawings: each takes numbers and gives SVG. Matplotlib draws them, and is needed for nothing else."""

import importlib.util
import io
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.core.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Distinct for colour-blind readers too, in the order of use.
COLOURS = ("#2563eb", "#ea580c", "#059669", "#9333ea", "#ca8a04", "#0891b2", "#db2777", "#64748b")
_INK, _FAINT, _GRID = "#334155", "#94a3b8", "#e2e8f0"
_SIZE = (8.0, 3.6)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "relayfleet",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "DejaVu Sans"],
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


class Canvas:
    """One drawing under way; `svg` is there once the block is over."""

    def __init__(self, axes: Sequence["Axes"]) -> None:
        self.axes = axes
        self.svg = ""


def require_matplotlib() -> None:
    """Raise `UsageError` that says what to install."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("Matplotlib draws the report: `pip install matplotlib`")


@contextmanager
def canvas(rows: int = 1, height: float = _SIZE[1]) -> Iterator[Canvas]:
    """A figure with so many plots above each other, over one x axis."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(_SIZE[0], height), layout="constrained")
        FigureCanvasSVG(figure)
        made = figure.subplots(rows, 1, sharex=True, squeeze=False)
        drawing = Canvas([row[0] for row in made])
        yield drawing
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawing.svg = _inline(buffer.getvalue())


def _inline(svg: str) -> str:
    """As a part of a page: no prologue, as wide as there is room, with ids that no other drawing has."""
    body = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    mark = f"{zlib.crc32(body.encode()):08x}"
    body = re.sub(r'\bid="([^"]+)"', rf'id="\1-{mark}"', body)
    body = re.sub(r'(xlink:href|href)="#([^"]+)"', rf'\1="#\2-{mark}"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#\1-{mark})", body)
    return re.sub(r'<svg ([^>]*?)width="[^"]*pt" height="[^"]*pt"', r"<svg \1", body, count=1)


def by_quantile(curves: Mapping[str, Sequence[tuple[float, float]]], limits: Mapping[str, float]) -> str:
    """Latency over the nines: each step to the right is ten times as rare. `limits` are drawn as lines."""
    with canvas() as drawing:
        (axes,) = drawing.axes
        deepest = 1.0
        for colour, (name, points) in zip(_colours(), curves.items(), strict=False):
            x = [-np.log10(1 - quantile) if quantile else 0.0 for quantile, _ in points]
            axes.plot(x, [value for _, value in points], label=name, color=colour)
            deepest = max(deepest, *x) if x else deepest
        for name, limit in limits.items():
            _limit(axes, limit, name)
        ticks = list(range(int(deepest) + 1))
        axes.set_xticks(ticks, [_nines(tick) for tick in ticks])
        axes.set_xlim(0, deepest)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("share of messages (log of nines)")
        axes.set_ylabel("latency, ms")
        _legend(axes)
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
            _limit(rate, offered, "offered")
        rate.set_ylim(0, 1.2 * max([offered or 0.0, *(row["outcomes"] for row in rows)], default=1.0))
        rate.set_ylabel("messages/s")
        for colour, name in zip(_colours(), ("p50", "p99", "max"), strict=False):
            latency.plot(seconds, [row.get(name, np.nan) for row in rows], label=name, color=colour)
        _logarithmic(latency)
        latency.set_ylabel("latency, ms")
        latency.set_xlabel("seconds")
        _legend(latency)
    return drawing.svg


def sweep(lines: Mapping[str, Sequence[Mapping[str, Any]]], knees: Mapping[str, float | None]) -> str:
    """What came of what was offered, and the p99; the knee is marked."""
    with canvas(2, 4.8) as drawing:
        rate, latency = drawing.axes
        for colour, (name, points) in zip(_colours(), lines.items(), strict=False):
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
            [0, longest], [0, longest], color=_FAINT, linewidth=1, linestyle="--", label="all that is offered"
        )
        rate.set_ylim(bottom=0)
        rate.set_ylabel("outcomes/s")
        _logarithmic(latency)
        latency.set_ylabel("latency, ms")
        latency.set_xlabel("messages/s offered")
        _thousands(latency)
        _legend(rate)
    return drawing.svg


def ramp(kinds: Mapping[str, Mapping[str, Any]]) -> str:
    """Latency and errors over the number of users."""
    with canvas(2, 4.8) as drawing:
        latency, rate = drawing.axes
        for colour, (name, found) in zip(_colours(), kinds.items(), strict=False):
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
        _thousands(rate)
        _legend(latency)
    return drawing.svg


def memory(lines: Mapping[str, Sequence[tuple[float, float]]], warmup_hours: float) -> str:
    """Memory of each process over hours; what warms up is shaded."""
    with canvas() as drawing:
        (axes,) = drawing.axes
        longest = max((points[-1][0] for points in lines.values() if points), default=0.0)
        scale, unit = (60.0, "minutes") if longest < 2 else (1.0, "hours")
        for colour, (name, points) in zip(_colours(), lines.items(), strict=False):
            axes.plot([x * scale for x, _ in points], [y for _, y in points], color=colour, label=name)
        axes.axvspan(0, warmup_hours * scale, color=_GRID, alpha=0.6, linewidth=0)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(unit)
        axes.set_ylabel("resident memory, MB")
        _legend(axes, columns=3)
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
            "seconds from the kill; blue: outcomes/s, orange: messages waiting", color=_INK
        )
    return drawing.svg


def bars(values: Mapping[str, float], unit: str, ours: Iterable[str] = ()) -> str:
    """One bar each, with its number."""
    mine = set(ours)
    with canvas(1, 0.9 + 0.36 * len(values)) as drawing:
        (axes,) = drawing.axes
        names = list(values)
        colours = [COLOURS[0] if name in mine else _FAINT for name in names]
        drawn = axes.barh(names, list(values.values()), color=colours, height=0.62)
        axes.bar_label(drawn, [f"{value:,.0f}" for value in values.values()], padding=4)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.set_xlabel(unit)
        axes.margins(x=0.12)
        _thousands(axes)
        axes.spines["left"].set_visible(False)
        axes.tick_params(left=False)
    return drawing.svg


def stacked(rows: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """A bar a row, made of its parts."""
    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    with canvas(1, 1.3 + 0.42 * len(rows)) as drawing:
        (axes,) = drawing.axes
        left = np.zeros(len(rows))
        for colour, part in zip(_colours(), parts, strict=False):
            widths = np.asarray([row.get(part, 0.0) for row in rows.values()])
            axes.barh(list(rows), widths, left=left, color=colour, label=part, height=0.62)
            left += widths
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.set_xlabel(unit)
        _legend(axes, columns=len(parts))
    return drawing.svg


def _colours() -> Iterator[str]:
    while True:
        yield from COLOURS


def _limit(axes: "Axes", value: float, name: str) -> None:
    axes.axhline(value, color="#dc2626", linewidth=1, linestyle="--")
    axes.annotate(
        name,
        (0.995, value),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        color="#dc2626",
        fontsize=9,
    )


def _logarithmic(axes: "Axes") -> None:
    """A logarithmic y axis with plain numbers, and room around what is drawn."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(10 ** np.floor(np.log10(max(low, 0.1))), 10 ** np.ceil(np.log10(high)))
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _thousands(axes: "Axes") -> None:
    from matplotlib.ticker import StrMethodFormatter

    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _legend(axes: "Axes", columns: int = 4) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, borderaxespad=0.2, fontsize=9)
