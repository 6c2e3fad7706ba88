"""What librdkafka has to say, in our logs, without secrets."""

import logging

from workers.core.redact import redact


class _Redacted(logging.Filter):
    """Masks secrets before any handler sees them: librdkafka prints configuration when it debugs."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True


def client_logger() -> logging.Logger:
    """The logger to hand to a client as `logger`. Its lines come out while that client is polled."""
    logger = logging.getLogger("librdkafka")
    if not logger.filters:
        logger.addFilter(_Redacted())
    return logger
