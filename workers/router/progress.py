"""Alive means that offsets move while there is lag. Pure: the service feeds it, and acts on what it says."""

from collections.abc import Mapping
from dataclasses import dataclass

from workers.core.records import TopicPartition


@dataclass(frozen=True, slots=True)
class Standing:
    """One partition at one moment: the next offset that is not done and committed (None: the group has never been here),
    and the end of what can be read. `waits` where its records have their turn after others that are being finished.
    """

    position: int | None
    end: int
    waits: bool = False

    @property
    def lag(self) -> int:
        """Records not finished yet."""
        return max(0, self.end - (self.position or 0))


class Progress:
    """Remembers when each partition last moved or had nothing to do."""

    def __init__(self, stuck_after: float) -> None:
        """`stuck_after` is in seconds."""
        self._stuck_after = stuck_after
        self._seen: dict[TopicPartition, tuple[int | None, float]] = {}
        self._looked: float | None = None

    def update(self, standings: Mapping[TopicPartition, Standing] | None, now: float) -> list[TopicPartition]:
        """Note how the partitions of this member stand; `now` is monotonic. Returns those that are stuck.

        None where nobody could say: that time is nobody's.
        """
        unknown, self._looked = 0.0 if self._looked is None else now - self._looked, now
        if standings is None:
            self._seen = {place: (at, since + unknown) for place, (at, since) in self._seen.items()}
            return []
        self._seen = {partition: self._seen.get(partition, (None, now)) for partition in standings}
        for partition, standing in standings.items():
            position, _ = self._seen[partition]
            if standing.lag == 0 or standing.waits or standing.position != position:
                self._seen[partition] = (standing.position, now)
        return [partition for partition, (_, since) in self._seen.items() if now - since >= self._stuck_after]
