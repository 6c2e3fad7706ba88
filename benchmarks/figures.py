"""What is computed from measurements: histograms and quantiles, slopes with confidence, the knee of a sweep, bootstrap.

Pure: no I/O, no clock; randomness comes from a seed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import nan
from statistics import median
from typing import Any, Literal

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

Floats = NDArray[np.float64]

QUANTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9}
_LONGEST_US = 3_600_000_000  # an hour
_DIGITS = 3
_ROUNDS = 1000
_CONFIDENCE = 0.95
_FEWEST_BLOCKS = 3  # one run drawn again and again has no spread, and would look sure of itself
_SHORTEST = 0.25  # hours that a slope's verdict needs


def histogram(milliseconds: Iterable[float]) -> HdrHistogram:
    """A histogram of microseconds, three digits exact, of latencies in milliseconds."""
    made = HdrHistogram(1, _LONGEST_US, _DIGITS)
    values = np.asarray(list(milliseconds), dtype=np.float64) * 1000
    whole = np.clip(np.rint(values), 1, _LONGEST_US).astype(np.int64)
    for value, count in zip(*np.unique(whole, return_counts=True), strict=True):
        made.record_value(int(value), int(count))
    return made


def merged(encoded: Iterable[str]) -> HdrHistogram:
    """One histogram of several that were kept with `encoded_text`."""
    made = HdrHistogram(1, _LONGEST_US, _DIGITS)
    for text in encoded:
        made.decode_and_add(text.encode())
    return made


def encoded_text(made: HdrHistogram) -> str:
    """The histogram as text, in HdrHistogram's own compressed form, which its other tools read."""
    text: bytes = made.encode()
    return text.decode()


def quantiles(made: HdrHistogram) -> dict[str, float]:
    """Milliseconds: p50, p90, p99, p99.9 and max; `count` beside them. Nothing measured: only the count."""
    count = int(made.total_count)
    if not count:
        return {"count": 0}
    found = {name: made.get_value_at_percentile(at) / 1000 for name, at in QUANTILES.items()}
    return {**found, "max": made.get_max_value() / 1000, "count": count}


def curve(made: HdrHistogram, nines: int = 5) -> list[tuple[float, float]]:
    """Points (quantile, milliseconds) evenly spaced over the nines, up to what the count of values can tell."""
    count = int(made.total_count)
    if not count:
        return []
    deepest = min(float(nines), float(np.log10(count)))
    shares = 1 - 10 ** -np.linspace(0, deepest, 80)
    return [(float(share), made.get_value_at_percentile(share * 100) / 1000) for share in shares]


@dataclass(frozen=True, slots=True)
class Spread:
    """Several runs of one figure."""

    median: float
    low: float
    high: float
    runs: int


def spread(values: Sequence[float]) -> Spread:
    """Median, least and most. Raises `ValueError` where nothing was measured."""
    if not values:
        raise ValueError("no run, no spread")
    return Spread(median(values), min(values), max(values), len(values))


Verdict = Literal["flat", "leak", "not known yet"]


@dataclass(frozen=True, slots=True)
class Slope:
    """How fast something grows: `per_hour` in its own unit, with the interval that holds it at 95 %."""

    per_hour: float
    low: float
    high: float
    mean: float
    hours: float  # that were observed

    def verdict(self, share: float = 0.01) -> Verdict:
        """A leak where it surely grows by more than `share` of its mean an hour, flat where it surely does not.

        A few minutes say nothing about hours, however straight their line is.
        """
        if self.hours < _SHORTEST:
            return "not known yet"
        limit = abs(self.mean) * share
        if self.low > limit:
            return "leak"
        return "flat" if self.high <= limit else "not known yet"

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with the verdict."""
        return {**asdict(self), "verdict": self.verdict()}


def slope(
    hours: Sequence[float], values: Sequence[float], segments: Sequence[int] | None = None, seed: int = 0
) -> Slope:
    """The slope of a line through samples, and its interval by a bootstrap over blocks of neighbours.

    Neighbouring samples are alike, so a textbook interval would be far too narrow; blocks keep that likeness.
    `segments` numbers the lives of a process: each has a level of its own, all share the slope.
    Raises `ValueError` for fewer than four samples.
    """
    if len(values) < 4:  # two make a line, and two more say how sure it is
        raise ValueError("a slope needs four samples at least")
    groups = np.asarray(segments if segments is not None else [0] * len(values))
    x, y = (_without_levels(np.asarray(each, dtype=np.float64), groups) for each in (hours, values))
    per_hour = _through_origin(x, y)
    rest = y - per_hour * x
    block = max(1, round(len(y) ** (1 / 2)))
    dice = np.random.default_rng(seed)
    drawn = [_through_origin(x, per_hour * x + _resampled(rest, block, dice)) for _ in range(_ROUNDS)]
    low, high = _interval(drawn)
    mean = float(np.mean(np.asarray(values, dtype=np.float64)))
    return Slope(per_hour, low, high, mean, max(hours) - min(hours))


def _without_levels(values: Floats, groups: NDArray[Any]) -> Floats:
    """Each group less its own mean."""
    out = values.copy()
    for group in np.unique(groups):
        out[groups == group] -= values[groups == group].mean()
    return out


def _through_origin(x: Floats, y: Floats) -> float:
    across = float(x @ x)
    return float(x @ y) / across if across else 0.0


def _resampled(values: Floats, block: int, dice: np.random.Generator) -> Floats:
    """As many values again, in blocks drawn from anywhere; the end is continued at the beginning."""
    count = len(values)
    starts = dice.integers(0, count, size=-(-count // block))
    places = (starts[:, None] + np.arange(block)[None, :]).ravel()[:count] % count
    drawn: Floats = values[places]
    return drawn


def _interval(drawn: Sequence[float]) -> tuple[float, float]:
    tail = (1 - _CONFIDENCE) / 2 * 100
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Point:
    """One rate of a sweep: what was offered and what came, messages a second; p99 in milliseconds."""

    offered: float
    achieved: float
    p99: float
    errors: float = 0.0  # share


def knee(points: Sequence[Point], keeps: float = 0.97, bends: float = 10.0) -> float | None:
    """The highest rate up to which everything that was offered came back, and p99 stayed within `bends` times its best.

    None where even the lowest rate was too much.
    """
    ordered = sorted(points, key=lambda point: point.offered)
    best = min((point.p99 for point in ordered), default=0.0)
    found = None
    for point in ordered:
        if point.achieved < keeps * point.offered or point.errors > 0 or point.p99 > bends * best:
            break
        found = point.offered
    return found


@dataclass(frozen=True, slots=True)
class Difference:
    """B against A: the ratio of a figure, and the interval that holds it at 95 %; NaN where too few blocks tell."""

    a: float
    b: float
    ratio: float
    low: float
    high: float

    @property
    def differs(self) -> bool:
        """Whether chance alone is an unlikely reason."""
        return self.low > 1 or self.high < 1


def compare(
    a: Sequence[Floats], b: Sequence[Floats], figure: Callable[[Floats], float], seed: int = 0
) -> Difference:
    """The ratio of `figure` of B to that of A, bootstrapped over blocks (seconds, or runs), which are drawn whole."""
    dice = np.random.default_rng(seed)
    whole_a, whole_b = figure(np.concatenate(a)), figure(np.concatenate(b))
    if min(len(a), len(b)) < _FEWEST_BLOCKS:
        return Difference(whole_a, whole_b, whole_b / whole_a, nan, nan)
    drawn = [figure(_drawn(b, dice)) / figure(_drawn(a, dice)) for _ in range(_ROUNDS // 2)]
    low, high = _interval(drawn)
    return Difference(whole_a, whole_b, whole_b / whole_a, low, high)


def _drawn(blocks: Sequence[Floats], dice: np.random.Generator) -> Floats:
    return np.concatenate([blocks[at] for at in dice.integers(0, len(blocks), size=len(blocks))])


def at_percentile(percentile: float) -> Callable[[Floats], float]:
    """A figure for `compare`."""
    return lambda values: float(np.percentile(values, percentile))


def ratios(ours: float, peers: Mapping[str, float | None]) -> dict[str, float | None]:
    """Ours over each peer's; None where the peer was not measured."""
    return {name: round(ours / rate, 2) if rate else None for name, rate in peers.items()}
