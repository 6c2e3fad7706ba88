"""CPU, memory, file descriptors and threads of every process, sampled while something is measured."""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import psutil

MACHINE = "machine"
"""The name of the samples of all processes together, ours and others'."""
_FULL = 0.9  # of a core, or of all
_NOTABLE = 0.2  # cores


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one moment. `at` is seconds of the monotonic clock, `cpu` seconds used so far."""

    name: str
    pid: int
    at: float
    cpu: float
    rss_mb: float
    fds: int
    threads: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def look(processes: Mapping[str, int]) -> list[Sample]:
    """A sample of each process (name -> pid), children included, and of the machine; one that is gone is left out."""
    samples = (_sample(name, pid) for name, pid in processes.items())
    return [*(sample for sample in samples if sample is not None), _whole()]


def _whole() -> Sample:
    times = psutil.cpu_times()
    busy = sum(times) - times.idle - getattr(times, "iowait", 0.0)
    used_mb = psutil.virtual_memory().used / 2**20
    return Sample(MACHINE, 0, time.monotonic(), busy, used_mb, 0, 0)


def _sample(name: str, pid: int) -> Sample | None:
    cpu, memory, fds, threads = 0.0, 0, 0, 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with process.oneshot():
                times = process.cpu_times()
                cpu += times.user + times.system
                memory += process.memory_info().rss
                fds += process.num_fds()
                threads += process.num_threads()
    except psutil.Error:
        return None
    return Sample(name, pid, time.monotonic(), cpu, memory / 2**20, fds, threads)


@dataclass(frozen=True, slots=True)
class Use:
    """What one process took between two moments. `cpu_share` is of one core."""

    cpu_seconds: float
    cpu_share: float
    rss_mb: float  # at the end
    rss_max_mb: float
    fds: int


class Watch:
    """Samples processes in a thread while it is open."""

    def __init__(self, processes: Mapping[str, int], every: float = 0.5) -> None:
        self._processes = dict(processes)
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.samples: list[Sample] = []

    def __enter__(self) -> "Watch":
        self.samples += look(self._processes)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.samples += look(self._processes)

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self.samples += look(self._processes)

    def use(self, since: float = 0.0, until: float = float("inf")) -> dict[str, Use]:
        """Of each process, between two moments of the monotonic clock."""
        return used(self.samples, since, until)


def used(samples: Iterable[Sample], since: float = 0.0, until: float = float("inf")) -> dict[str, Use]:
    """What each process took between the first and the last sample of that time.

    Where there was one alone, since whoever takes them was held up, it counts from the one before that time.
    """
    by_name: dict[str, list[Sample]] = {}
    before: dict[str, Sample] = {}
    for sample in samples:
        if sample.at < since:
            before[sample.name] = sample
        elif sample.at <= until:
            by_name.setdefault(sample.name, []).append(sample)
    for name, found in by_name.items():
        if len(found) == 1 and name in before:
            found.insert(0, before[name])
    return {name: _use(found) for name, found in by_name.items() if len(found) > 1}


def _use(found: list[Sample]) -> Use:
    first, last = found[0], found[-1]
    cpu = last.cpu - first.cpu
    seconds = last.at - first.at
    share = cpu / seconds if seconds else 0.0
    return Use(cpu, share, last.rss_mb, max(sample.rss_mb for sample in found), last.fds)


def busiest(use: Mapping[str, Use]) -> str:
    """In words, which process was the bottleneck, or that none was."""
    processes = {name: each for name, each in use.items() if name != MACHINE}
    if not processes:
        return "no process was watched"
    name, most = max(processes.items(), key=lambda item: item[1].cpu_share)
    ours = sum(each.cpu_share for each in processes.values())
    cores = psutil.cpu_count() or 1
    whole = use[MACHINE].cpu_share if MACHINE in use else ours
    shares = f"{name} used {most.cpu_share:.2f} cores, all watched together {ours:.1f} of {cores}"
    if most.cpu_share > _FULL:
        return f"{name}: {shares}"
    if whole > _FULL * cores:
        others = f", others on this machine {whole - ours:.1f}" if whole - ours > _NOTABLE else ""
        return f"the machine's CPU: {shares}{others}"
    return f"no CPU: {shares}"
