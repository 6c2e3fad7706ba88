"""Under which names the gateway may be called: a page whose name is made to point here must not speak for its reader.

Where nobody has to show anything, a browser on this machine would be all that such a page needs (DNS rebinding). It
still says the page's own name in `Host`.
"""

from http import HTTPStatus

from starlette.types import Scope

from schemas.errors import ErrorClass
from workers.gateway.auth import Authenticator
from workers.gateway.front import header
from workers.gateway.refusals import RefusalError

_HERE = frozenset({"localhost", "127.0.0.1", "[::1]"})
_LOOPBACK = ("127.", "::1", "localhost")


def is_loopback(host: str) -> bool:
    """Whether this machine alone reaches a gateway that listens there."""
    return host.startswith(_LOOPBACK)


class Hosts:
    """The names of one gateway: those of this machine, the one that it listens at, and `more`."""

    def __init__(self, listening: str, more: tuple[str, ...], authenticator: Authenticator) -> None:
        own = f"[{listening}]" if ":" in listening else listening
        self._names = _HERE | {name.lower() for name in (own, *more)}
        self._named = bool(more)
        self._loopback = is_loopback(listening)
        self._authenticator = authenticator

    def check(self, scope: Scope) -> None:
        """Raises `RefusalError` (421) for a request to a name that is none of ours, where that matters."""
        if not self._named and (self._authenticator.required or not self._loopback):
            return
        host = header(scope, b"host")
        if host is None or _name(host) in self._names:
            return
        detail = f"the name {host[:100]!r} is none of this gateway's; gateway.hosts names more of them"
        raise RefusalError(ErrorClass.AUTH, detail, status=HTTPStatus.MISDIRECTED_REQUEST)


def _name(host: str) -> str:
    """Without the port, as names are compared."""
    name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    return name.lower().rstrip(".")
