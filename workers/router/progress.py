"""Alive means that offsets move while there is lag. Pure: the service feeds it, and acts on what it says."""

from collections.abc import Mapping
from dataclasses import dataclass

from workers.core.records import TopicPartition


@dataclass(frozen=True, slots=True)
class Standing:
    """One partition at one moment: the next offset to be committed (None: not known yet) and the end of the log."""

    position: int | None
    beginning: int
    end: int

    @property
    def lag(self) -> int:
        """Records not finished yet."""
        return max(0, self.end - (self.beginning if self.position is None else self.position))


class Progress:
    """Remembers when each partition last moved or had nothing to do."""

    def __init__(self, stuck_after: float) -> None:
        """`stuck_after` is in seconds."""
        self._stuck_after = stuck_after
        self._seen: dict[TopicPartition, tuple[int | None, float]] = {}

    def update(self, standings: Mapping[TopicPartition, Standing], now: float) -> list[TopicPartition]:
        """Note how the partitions of this member stand; `now` is monotonic. Returns those that are stuck."""
        self._seen = {partition: self._seen.get(partition, (None, now)) for partition in standings}
        for partition, standing in standings.items():
            position, _ = self._seen[partition]
            if standing.lag == 0 or standing.position != position:
                self._seen[partition] = (standing.position, now)
        return [partition for partition, (_, since) in self._seen.items() if now - since >= self._stuck_after]
