"""HTTP traffic: the load process, the processes watched meanwhile, and what follows from them."""

import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Floats, encoded_text, histogram, quantiles
from benchmarks.load.spec import LoadSpec
from benchmarks.load.traffic import brief, finished, rate_within
from benchmarks.watch import Use, Watch

FORWARD = '{"text": "测试消息", "context": {}}'
"""The body that a gateway's users send."""
_LEAD = 1.0  # seconds until a load process has started
OK = 200


@dataclass(frozen=True)
class Calls:
    """What came of HTTP load. Arrays are by call; times in seconds from the start."""

    spec: LoadSpec
    warmup: float
    intended: Floats
    finished: Floats
    status: Floats
    timings: Floats  # rows of milliseconds, by call: queued, routed, model, total; NaN where none was told
    use: Mapping[str, Use]
    first: Floats = field(default_factory=lambda: np.empty(0))  # of streams: when their first event came
    pieces: Floats = field(default_factory=lambda: np.empty(0))  # and how many there were

    @property
    def counted(self) -> Any:
        """Which calls are past the warm-up and were answered."""
        return (self.intended >= self.warmup) & (self.status == OK)

    @property
    def latencies(self) -> Floats:
        """Milliseconds from the intended time, of what counts."""
        return self._since_intended(self.finished)

    def streamed(self) -> dict[str, Any]:
        """Of streams: milliseconds to the first event and to the last, and events a second."""
        seconds = self.spec.seconds - self.warmup
        return {
            "first_ms": quantiles(histogram(self._since_intended(self.first))),
            "whole_ms": quantiles(histogram(self.latencies)),
            "pieces": float(self.pieces[self.counted].mean()) if self.counted.any() else 0.0,
            "pieces_a_second": float(self.pieces[self.counted].sum()) / seconds,
            "errors": self.errors,
        }

    def _since_intended(self, moments: Floats) -> Floats:
        which = self.counted
        taken: Floats = (moments[which] - self.intended[which]) * 1000
        return taken

    def achieved(self) -> float:
        """Answers a second between the end of the warm-up and the end of sending, see `rate_within`."""
        offered = int(np.count_nonzero(self.intended >= self.warmup)) if self.spec.rate else inf
        return rate_within(self.finished[self.status == OK], self.warmup, self.spec.seconds, offered)

    def answered(self, since: float) -> float:
        """Answers a second from this moment to the last: of users who wait, also where one answer takes long."""
        came = self.finished[(self.status == OK) & (self.finished >= since)]
        return len(came) / float(came.max() - since) if len(came) else 0.0

    @property
    def errors(self) -> int:
        """Calls that were not answered with 200."""
        return int(np.count_nonzero(self.status != OK))

    def summary(self) -> dict[str, Any]:
        """For JSON and the report."""
        made = histogram(self.latencies)
        count = max(1, len(self.status))
        return {
            "load": {
                name: value for name, value in asdict(self.spec).items() if name not in {"out", "start"}
            },
            "offered": self.spec.rate or None,
            "users": self.spec.users or None,
            "achieved": self.achieved(),
            "latency_ms": quantiles(made),
            "histogram": encoded_text(made),
            "sent": len(self.status),
            "errors": self.errors,
            "error_rate": self.errors / count,
            "statuses": dict(Counter(self.status.astype(int).tolist())),
            "stages_ms": self._stages(),
            "processes": {name: asdict(use) for name, use in self.use.items()},
            "cpu_us_a_message": {name: use.cpu_seconds / count * 1e6 for name, use in self.use.items()},
            "over_time": self._over_time(),
        }

    def _stages(self) -> dict[str, dict[str, float]]:
        """As of `traffic.stages`; the way to the gateway and back is part of `publish`."""
        if not len(self.timings):
            return {}
        known = self.counted & ~np.isnan(self.timings).any(axis=1)
        queued, at_worker, model, total = self.timings[known].T
        columns = {
            "to_router": queued,
            "to_worker": at_worker,
            "model": model,
            "worker": np.maximum(0.0, total - queued - at_worker - model),
            "publish": np.maximum(0.0, (self.finished[known] - self.intended[known]) * 1000 - total),
        }
        return {name: brief(column) for name, column in columns.items() if len(column)}

    def _over_time(self) -> list[dict[str, float]]:
        rows = []
        good = self.status == OK
        for second in range(int(self.spec.seconds)):
            came = np.count_nonzero((self.finished >= second) & (self.finished < second + 1) & good)
            which = (self.intended >= second) & (self.intended < second + 1) & good
            row: dict[str, float] = {"second": second, "outcomes": int(came)}
            if which.any():
                taken = (self.finished[which] - self.intended[which]) * 1000
                row |= {"p50": float(np.median(taken)), "p99": _p99(taken), "max": float(taken.max())}
            rows.append(row)
        return rows


def _p99(values: Floats) -> float:
    return float(np.percentile(values, 99))


def call(
    spec: LoadSpec,
    pids: Mapping[str, int],
    warmup: float = 2.0,
    during: Callable[[float], None] = lambda start: None,
) -> Calls:
    """Make the calls of a spec, whose `start` and `out` are filled in here, and watch these processes."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "calls.npz")
        timed = replace(spec, start=time.monotonic() + _LEAD, out=out)
        calling = subprocess.Popen(timed.command(), stdout=subprocess.PIPE)
        with Watch({**pids, "load": calling.pid}) as watch:
            during(timed.start)
            finished(calling)
        with np.load(out, allow_pickle=False) as kept:
            found = {name: kept[name] for name in kept.files}
    return Calls(spec=timed, warmup=warmup, use=watch.use(timed.start), **found)
