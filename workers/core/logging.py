"""Structured logs on standard error: JSON lines for machines, coloured lines on a terminal; secrets masked in both.

Everything ends here, also what libraries log through the standard library. Prompts are never handed to a logger.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.types import Processor

from workers.core.redact import MASK, is_secret_name, redact

_NOISY = (
    "faust",
    "mode",
    "asyncio",
    "httpx",
    "httpcore",
    "pyreqwest",
    "testcontainers",
    "uvicorn",
)


def configure_logging(process: str, *, level: str = "info", json: bool | None = None) -> None:
    """Set up logging for this process. `json` None chooses by whether standard error is a terminal."""
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask_secrets,
    ]
    last: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # A command says itself, in one sentence, that nobody answers; only processes that wait tell every try.
    logging.getLogger("librdkafka").setLevel(logging.INFO if level == "info" else logging.CRITICAL)
    structlog.contextvars.bind_contextvars(process=process)


def mask_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: mask fields that are secret by name, and whatever looks like a secret in any text."""
    for name, value in event.items():
        event[name] = _masked(name, value)
    return event


def _masked(name: str, value: object) -> object:
    if is_secret_name(name) and value is not None:
        return MASK
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _masked(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_masked("", inner) for inner in value]
    if isinstance(value, BaseException):
        return redact(str(value))
    return value
