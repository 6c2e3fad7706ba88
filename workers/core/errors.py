"""Every error of the fleet.

RelayError
├── MessageError          about one message; carries its class, stage and reason
│   ├── TransientError    worth another attempt, not before `retry_after`
│   └── PermanentError    no attempt will mend it: dead letter
│       └── RefusedError  our own policy declines it: the caller learns, no dead letter
├── FatalError            about the process: stop hard, acknowledge nothing more
├── UsageError            what the user gave is wrong: exit code 2
├── NotYetError           what a change needs is not there yet: asked again until it is
└── UnreachableError      a broker or backend can't be reached: exit code 4
"""

from typing import TYPE_CHECKING

from schemas.errors import ErrorClass, Stage

if TYPE_CHECKING:
    from workers.core.ports import Usage


class RelayError(Exception):
    """Root of the tree. Its text is one sentence for people: what is wrong, where, what to do."""


class MessageError(RelayError):
    """One message failed.

    `reason` is safe to publish: it names the cause and never holds a prompt or a secret.
    `status` is the backend's own code (an HTTP status, say) where there is one, `usage` the tokens that it counted
    all the same.
    """

    def __init__(
        self,
        error_class: ErrorClass,
        reason: str,
        *,
        stage: Stage = Stage.CALL,
        status: int | None = None,
        retry_after: float | None = None,
        usage: "Usage | None" = None,
    ) -> None:
        super().__init__(f"{error_class}: {reason}")
        self.error_class = error_class
        self.reason = reason
        self.stage = stage
        self.status = status
        self.retry_after = retry_after
        self.usage = usage


class TransientError(MessageError):
    """Another attempt may succeed, after `retry_after` seconds where the backend said so."""


class PermanentError(MessageError):
    """Further attempts are pointless."""


class RefusedError(PermanentError):
    """Declined by a policy of ours (a breaker that rejects, a limit): an error response and no dead letter."""


class FatalError(RelayError):
    """The process can't keep its promises: it must stop before it acknowledges anything more."""


class UsageError(RelayError):
    """A file, option or value given by the user is wrong."""


class NotYetError(RelayError):
    """A change waits for something: a topic, somebody who reads it, work that is still to be done."""


class UnreachableError(RelayError):
    """A broker, store or backend does not answer."""
