"""Which partitions are ours, and since which assignment."""

from collections.abc import Collection, Mapping

from workers.core.records import TopicPartition


class Ownership:
    """Every assignment of a partition has a number of its own, its epoch.

    The poll thread writes; any thread may read. What an earlier epoch began (a commit that waits for its turn, say)
    is told apart from the present one even where the partition went away and came back.
    """

    def __init__(self) -> None:
        self._epochs: dict[TopicPartition, int] = {}
        self._last = 0

    def assign(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """These are ours from now on; returns their epochs."""
        self._last += 1
        epochs = dict.fromkeys(partitions, self._last)
        self._epochs = self._epochs | epochs
        return epochs

    def drop(self, partitions: Collection[TopicPartition]) -> None:
        """These are not ours any more."""
        self._epochs = {place: epoch for place, epoch in self._epochs.items() if place not in partitions}

    @property
    def epochs(self) -> Mapping[TopicPartition, int]:
        """What is ours, as it stands now; replaced at every change, never changed."""
        return self._epochs
