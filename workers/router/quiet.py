"""aiokafka logs every failed attempt to reconnect, thirty lines a second while a broker is away: each is let through once."""

import logging

from workers.core.clock import Clock

EVERY_SECONDS = 10.0


class OncePerWhile(logging.Filter):
    """Lets a message through that was not logged in the last `EVERY_SECONDS`, whatever its arguments."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._logged: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it."""
        now, text = self._clock.monotonic(), str(record.msg)
        last = self._logged.get(text)
        if last is not None and now - last < EVERY_SECONDS:
            return False
        self._logged[text] = now
        return True


def quieten(clock: Clock) -> None:
    """Install the filter on the loggers of aiokafka, which must be imported."""
    once = OncePerWhile(clock)
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        if name.startswith("aiokafka") and not any(isinstance(each, OncePerWhile) for each in logger.filters):
            logger.addFilter(once)
