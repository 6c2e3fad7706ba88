"""One call of a backend, within its time, whatever comes out of it."""

import asyncio

import structlog

from schemas.errors import ErrorClass
from workers.core.errors import MessageError, PermanentError, TransientError
from workers.core.ports import Answer, Backend, Call
from workers.inference.alarm import Alarm
from workers.inference.message import Message

log = structlog.get_logger()


async def ask(backend: Backend, call: Call, message: Message, target: str) -> Answer:
    """Call, and be back in `call.timeout` seconds. Raises nothing but `MessageError`, and passes on a cancellation."""
    assert message.task is not None  # noqa: S101 - the one that runs this
    alarm = Alarm(message.task, call.timeout)
    try:
        return await backend.call(call)
    except asyncio.CancelledError as cancelled:
        if alarm.rang():
            raise TransientError(ErrorClass.TIMEOUT, f"no answer within {call.timeout:g} s") from cancelled
        raise
    except MessageError:
        raise
    except Exception as error:
        raise bug(error, backend.name, target) from error
    finally:
        alarm.stop()


def bug(error: Exception, instance: str, target: str) -> PermanentError:
    """What a backend's bug ends a message as: it must not take the others along. Its text may quote the prompt."""
    log.error("backend_bug", target=target, instance=instance, error=type(error).__name__)
    return PermanentError(ErrorClass.INTERNAL, f"{type(error).__name__} while calling {instance}")
