"""Figures as prometheus_client's registry wants them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from workers.core.figures import Count, Durations

Figure = TypeVar("Figure")
Labelled = Sequence[tuple[tuple[str, ...], Figure]]


@dataclass(frozen=True, slots=True)
class Kind(Generic[Figure]):
    """How a kind of figure is made, and how its children are told: of a name, a sentence and label names."""

    made: Callable[[], Figure]
    told: Callable[[str, str, tuple[str, ...], Labelled[Figure]], Metric]


class Family(Collector, Generic[Figure]):
    """The children of one metric, told when somebody scrapes."""

    def __init__(self, kind: Kind[Figure], name: str, sentence: str, labels: tuple[str, ...]) -> None:
        self._kind = kind
        self._what = (name, sentence, labels)
        self._children: dict[tuple[str, ...], Figure] = {}

    def of(self, labels: tuple[str, ...]) -> Figure:
        """The child for these label values."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._kind.made()
        return child

    def describe(self) -> Iterable[Metric]:
        """For the registry, which refuses a name that is taken."""
        return [self._kind.told(*self._what, [])]

    def collect(self) -> Iterator[Metric]:
        """What a scrape gets."""
        yield self._kind.told(*self._what, list(self._children.items()))


def counts() -> Kind[Count]:
    """Counters."""
    return Kind(Count, _told_counts)


def durations(bounds: Sequence[float]) -> Kind[Durations]:
    """Histograms with these bounds, in seconds."""
    names = [*map(repr, bounds), "+Inf"]

    def told(name: str, sentence: str, labels: tuple[str, ...], children: Labelled[Durations]) -> Metric:
        family = HistogramMetricFamily(name, sentence, labels=labels)
        for values, child in children:
            family.add_metric(values, list(zip(names, accumulate(child.counts), strict=True)), child.seconds)
        return family

    return Kind(lambda: Durations(bounds), told)


def _told_counts(name: str, sentence: str, labels: tuple[str, ...], children: Labelled[Count]) -> Metric:
    family = CounterMetricFamily(name, sentence, labels=labels)
    for values, child in children:
        family.add_metric(values, child.total)
    return family
