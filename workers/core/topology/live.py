"""The topology of a running process: its file is looked at again and again, and what changed is taken over whole or not at all.

A part of the process that wants to follow subscribes one function. It gets the new version, does whatever may fail
(opens, compiles, learns, asks), and returns what makes the change, which must not fail: only when every part of the
process could prepare is the change made. It raises `NotYetError` where something is still missing (it is then asked
again), `UsageError` where the change is impossible.
"""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import structlog

from workers.core.errors import NotYetError, RelayError, UnreachableError
from workers.core.health import Fact
from workers.core.metrics import TOPOLOGY, TOPOLOGY_BEHIND, TOPOLOGY_CHANGES, Metrics
from workers.core.topology.change import changes_between, fixed_parts, merged
from workers.core.topology.load import load_topology
from workers.core.topology.model import Topology
from workers.core.topology.problems import TopologyError
from workers.core.topology.secrets import masked_fields

log = structlog.get_logger()

LOOK_EVERY = 1.0
"""Seconds. A change counts once the file has been the same for two looks, so that none is taken half written."""

_NAME_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Version:
    """A topology and its name: the same for files that say the same, whatever their comments and order of keys."""

    name: str
    topology: Topology


Commit = Callable[[], Awaitable[None]]
Prepare = Callable[[Version], Awaitable[Commit]]
_Signature = tuple[tuple[str, int, int, int] | None, ...]


def version_name(topology: Topology) -> str:
    """A short hash of what the file says. Secrets are no part of it: a name that anybody sees must not tell them."""
    data = masked_fields(topology.model_dump(mode="json", by_alias=True))
    dumped = orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(dumped).hexdigest()[:_NAME_LENGTH]


class LiveTopology:
    """The version in use, and the file it came from. Belongs to one event loop; `fact` may be asked from any thread."""

    def __init__(
        self,
        path: Path,
        environment: Mapping[str, str],
        locate: Callable[[Topology], Topology] = lambda topology: topology,
        once: frozenset[str] = frozenset(),
    ) -> None:
        """Read the file. `locate` fills in what the command line says; `once`: see `changes_between`. Raises `TopologyError`, and what `locate` raises."""
        self._path = path
        self._environment = environment
        self._locate = locate
        self._once = once
        self._files: set[Path] = set()
        self._taken = self._seen = self._signature()
        self._loaded = self._load()
        self.fixed = fixed_parts(self._loaded)
        self._taken = self._seen = self._signature()
        self.current = Version(version_name(self._loaded), locate(self._loaded))
        self._prepares: list[Prepare] = []
        self._metrics: Metrics | None = None
        self._behind = ""  # refused, waiting or restart
        self._why = ""
        self._asked = asyncio.Event()
        self._pending: Topology | None = None  # what the file says, and what is still waited for

    def subscribe(self, prepare: Prepare) -> None:
        """Follow changes; see the module for what `prepare` does."""
        self._prepares.append(prepare)

    def show(self, metrics: Metrics) -> None:
        """Show version and state in these metrics from now on."""
        self._metrics = metrics
        metrics.gauge(TOPOLOGY, self.current.name).set(1)
        self._mark(self._behind, self._why)

    def fact(self) -> Fact:
        """For `/readyz`. A file that is refused takes nothing out of service: the version before it works on."""
        state = f"; the file is {self._behind}: {self._why}" if self._behind else ""
        return Fact("topology", ok=True, why=f"version {self.current.name}{state}")

    def look_now(self) -> None:
        """Take the file as it is now, without waiting for it to settle: SIGHUP."""
        self._asked.set()

    async def watch(self, every: float = LOOK_EVERY) -> None:
        """Follow the file for as long as this runs. `every` is in seconds."""
        while True:
            try:
                async with asyncio.timeout(every):
                    await self._asked.wait()
            except TimeoutError:
                pass
            asked = self._asked.is_set()
            self._asked.clear()
            await self.look(asked=asked)

    async def look(self, *, asked: bool = False) -> None:
        """Take over what has changed, as far as it can be. `asked`: read the file even where it looks the same."""
        now = await asyncio.to_thread(self._signature)
        settled, self._seen = now == self._seen, now
        changed = now != self._taken
        if not (asked or (changed and settled)):
            if self._pending is not None and not changed:
                await self._follow(self._pending)
            return
        self._taken, self._pending = now, None
        try:
            loaded = await asyncio.to_thread(self._load)
        except TopologyError as error:
            self._refuse([str(problem) for problem in error.problems])
            return
        await self._follow(loaded)

    async def _follow(self, loaded: Topology) -> None:
        if loaded == self._loaded:
            if self._behind in {"refused", "waiting"}:
                log.info("topology_unchanged", version=self.current.name)
            self._mark_what_is_left()
            return
        changes = changes_between(self._loaded, loaded, self._once)
        try:
            new = Version(
                version_name(loaded), merged(self.current.topology, self._locate(loaded), self._once)
            )
            commits = [await prepare(new) for prepare in self._prepares]
        except (NotYetError, UnreachableError) as error:
            self._pending = loaded
            self._wait(str(error))
            return
        except RelayError as error:
            self._refuse([str(error)])
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the version in use must work on
            self._refuse([f"a fault in taking it over: {type(error).__name__}"])
            return
        for commit in commits:
            await commit()
        before, self.current, self._loaded, self._pending = self.current, new, loaded, None
        self._applied(before, changes.live)

    def _applied(self, before: Version, live: Iterable[str]) -> None:
        left = self._mark_what_is_left()
        if self._metrics is not None:
            self._metrics.gauge(TOPOLOGY, before.name).set(0)
            self._metrics.gauge(TOPOLOGY, self.current.name).set(1)
            self._metrics.counter(TOPOLOGY_CHANGES, "applied").inc()
        log.info(
            "topology_applied",
            version=self.current.name,
            before=before.name,
            changed=[*live],
            restart=[*left],
        )

    def _mark_what_is_left(self) -> tuple[str, ...]:
        """What differs between the file and what the process runs with, which only a restart changes."""
        left = changes_between(self.current.topology, self._locate(self._loaded), self._once).restart
        self._mark("restart" if left else "", f"a restart is needed for {', '.join(left)}" if left else "")
        return left

    def _refuse(self, problems: list[str]) -> None:
        why = "; ".join(problems)
        if (self._behind, self._why) != ("refused", why):
            log.error(
                "topology_refused",
                problems=problems,
                in_use=self.current.name,
                so="the version before it works on",
            )
            if self._metrics is not None:
                self._metrics.counter(TOPOLOGY_CHANGES, "refused").inc()
        self._mark("refused", why)

    def _wait(self, why: str) -> None:
        if (self._behind, self._why) != ("waiting", why):
            log.warning("topology_waiting", why=why, in_use=self.current.name)
        self._mark("waiting", why)

    def _mark(self, behind: str, why: str) -> None:
        self._behind, self._why = behind, why
        if self._metrics is not None:
            for each in ("refused", "waiting", "restart"):
                self._metrics.gauge(TOPOLOGY_BEHIND, each).set(each == behind)

    def _load(self) -> Topology:
        files: set[Path] = set()
        try:
            return load_topology(self._path, self._environment, files)
        finally:
            self._files = files or self._files

    def _signature(self) -> _Signature:
        return tuple(_stat(path) for path in (self._path, *sorted(self._files)))


def _stat(path: Path) -> tuple[str, int, int, int] | None:
    """None where there is no such file. A mounted ConfigMap is a link that moves: what it leads to is looked at."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - the same, and follows links
    except OSError:
        return None
    return str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino
