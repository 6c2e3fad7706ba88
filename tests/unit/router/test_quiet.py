"""A broker that is away fills no disk with log lines."""

import logging

from workers.core.clock import ManualClock
from workers.router.quiet import EVERY_SECONDS, OncePerWhile


def record(text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("aiokafka", logging.ERROR, "", 0, text, arguments, None)


def test_a_message_is_logged_once_in_a_while() -> None:
    clock = ManualClock()
    once = OncePerWhile(clock)
    assert once.filter(record("can't connect to %s", 1))
    assert not once.filter(record("can't connect to %s", 2))
    assert once.filter(record("something else"))
    clock.advance(EVERY_SECONDS)
    assert once.filter(record("can't connect to %s", 1))
