"""The ladder of delay topics: waits too long for memory go through a topic that delays all its records alike."""

from workers.core.topology.model import TargetBase

LADDER: tuple[tuple[str, float], ...] = (
    ("15s", 15.0),
    ("1m", 60.0),
    ("5m", 300.0),
    ("15m", 900.0),
    ("1h", 3600.0),
)
"""Every delay that can have a topic: its label, as in the topic's name, and its seconds."""


def retry_delays(target: TargetBase) -> tuple[tuple[str, float], ...]:
    """The delays, label and seconds, for which a target has topics: above `hold_up_to`, up to the first that covers `max`."""
    retry = target.retry
    covering = next((seconds for _, seconds in LADDER if seconds >= retry.max), LADDER[-1][1])
    return tuple((label, seconds) for label, seconds in LADDER if retry.hold_up_to < seconds <= covering)
