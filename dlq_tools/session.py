"""What a command works with: the topology, the cluster, and the index of a topic filled to its end."""

import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dlq_tools import where
from dlq_tools.avro_files import NONE, AvroFiles
from dlq_tools.filling import Tick, fill, open_index
from dlq_tools.index import Index, Selection
from dlq_tools.ledger_filling import fill_ledger
from dlq_tools.ledger_index import LedgerIndex
from dlq_tools.times import parse_time
from dlq_tools.where import Condition
from workers import assembly
from workers.core.clock import Clock, SystemClock
from workers.core.logging import configure_logging
from workers.core.ports import Admin, Reader
from workers.core.records import TopicPartition
from workers.core.settings import Settings
from workers.core.topology.model import Topology
from workers.core.topology.names import Names
from workers.shell import load


@dataclass(frozen=True, slots=True)
class Asked:
    """Which letters a command was asked for, as the user wrote it."""

    topic: str | None = None
    where: str | None = None
    since: str | None = None
    until: str | None = None
    schemas: AvroFiles = NONE


@dataclass(frozen=True, slots=True)
class Chosen:
    """The same, read and checked."""

    index: Index
    condition: Condition | None
    since_ms: int | None
    until_ms: int | None

    @property
    def choice(self) -> tuple[Condition | None, int | None, int | None]:
        """What the methods of an index take."""
        return self.condition, self.since_ms, self.until_ms

    def selection(self) -> Selection:
        """The letters, oldest offset first."""
        return self.index.select(*self.choice)


@dataclass(frozen=True, slots=True)
class Session:
    """One cluster, for the length of a command."""

    topology: Topology
    settings: Settings
    kafka: str | None
    admin: Admin
    clock: Clock

    @property
    def names(self) -> Names:
        """The deployment's topics."""
        return Names(self.topology)

    @property
    def now_ms(self) -> int:
        """The wall clock."""
        return int(self.clock.wall() * 1000)

    def open_reader(
        self, topics: Sequence[str], starts: Mapping[TopicPartition, int]
    ) -> AbstractAsyncContextManager[Reader]:
        """See `filling.OpenReader`."""
        return assembly.open_reader(self.topology, self.settings, self.kafka, topics, start_at=starts)

    async def ledger(self) -> LedgerIndex | None:
        """What is on record of letters; None where this cluster has no ledger."""
        return await fill_ledger(
            self.admin, self.open_reader, self.clock, self.settings.home, self.names.ledger
        )

    async def choose(self, asked: Asked) -> Chosen:
        """Read what was asked for, all of it before anything slow is begun, and fill the index of its topic."""
        condition = None if asked.where is None else where.parse(asked.where)
        since = None if asked.since is None else parse_time(asked.since, self.now_ms, "--since")
        until = None if asked.until is None else parse_time(asked.until, self.now_ms, "--until")
        topic, ledger = asked.topic or self.names.dead_letters, await self.ledger()
        beside = None if ledger is None else ledger.path
        index = await open_index(self.admin, self.settings.home, topic, beside, asked.schemas)
        with progress_bar(f"reading {index.topic}") as tick:
            await fill(index, self.admin, self.open_reader, tick)
        return Chosen(index, condition, since, until)


@asynccontextmanager
async def open_session(topology: Path | None, kafka: str | None) -> AsyncIterator[Session]:
    """The cluster of the topology, or of `--kafka`."""
    configure_logging("dlq", level="warning")
    settings = Settings.read()
    loaded = load(topology, settings)
    async with assembly.open_admin(loaded, settings, kafka) as admin:
        yield Session(loaded, settings, kafka, admin, SystemClock())


@contextmanager
def progress_bar(text: str) -> Iterator[Tick]:
    """A bar on standard error, gone at the end; nothing where nobody looks at a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with shown as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)
