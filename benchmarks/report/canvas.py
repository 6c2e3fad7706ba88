"""What all drawings share: size, colours, axes. Matplotlib draws them, and is needed for nothing else."""

import importlib.util
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.core.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Distinct for colour-blind readers too, in the order of use.
COLOURS = ("#2563eb", "#ea580c", "#059669", "#9333ea", "#ca8a04", "#0891b2", "#db2777", "#64748b")
INK, FAINT, GRID = "#334155", "#94a3b8", "#e2e8f0"
_SIZE = (8.0, 3.6)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "relayfleet",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
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


def colours() -> Iterator[str]:
    while True:
        yield from COLOURS


def limit(axes: "Axes", value: float, name: str) -> None:
    axes.axhline(value, color="#dc2626", linewidth=1, linestyle="--")
    axes.annotate(
        name,
        (1.0, value),  # beside the drawing, where it hides nothing
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        ha="left",
        va="center",
        color="#dc2626",
        fontsize=9,
    )


def logarithmic(axes: "Axes") -> None:
    """A logarithmic y axis with plain numbers, and room around what is drawn."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(10 ** np.floor(np.log10(max(low, 0.1))), 10 ** np.ceil(np.log10(high)))
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def thousands(axes: "Axes") -> None:
    from matplotlib.ticker import StrMethodFormatter

    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def legend(axes: "Axes", columns: int = 4) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, borderaxespad=0.2, fontsize=9)
