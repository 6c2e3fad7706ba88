"""What was asked on a connection, kept so that another one can go on with it, at whatever gateway."""

import re
import secrets
from collections import OrderedDict

import orjson
import structlog

from workers.core.errors import UnreachableError
from workers.core.ports import AnswerStore
from workers.gateway.refusals import RefusalError, not_found, unavailable

log = structlog.get_logger()

_MOST_ASKED = 200
"""Of one session; older ones are not found again through it, only under their own ids."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class Session:
    """The requests of one session, by the client's ids. Who knows the token may go on with it, within its tenant."""

    def __init__(self, tenant: str | None, token: str, asked: OrderedDict[str, str] | None = None) -> None:
        self.token = token
        self.asked: OrderedDict[str, str] = asked if asked is not None else OrderedDict()
        self.key = f"ws:{len(tenant)}:{tenant}:{token}" if tenant is not None else f"ws:-:{token}"

    def add(self, name: str, message_id: str) -> None:
        """One more."""
        self.asked.pop(name, None)
        self.asked[name] = message_id
        while len(self.asked) > _MOST_ASKED:
            self.asked.popitem(last=False)


class Sessions:
    """The sessions of all gateways, in the store of their answers."""

    def __init__(self, store: AnswerStore) -> None:
        self._store = store

    def new(self, tenant: str | None) -> Session:
        """A session that nobody knows yet."""
        return Session(tenant, secrets.token_urlsafe(32))

    async def keep(self, session: Session) -> None:
        """Let every gateway know what was asked. With the store away the session is not found again, and that is all."""
        try:
            await self._store.put({session.key: orjson.dumps(list(session.asked.items()))})
        except UnreachableError as error:
            log.warning("session_not_kept", error=str(error), so="answers are found under their ids alone")

    async def find(self, tenant: str | None, token: str) -> Session:
        """A session of this tenant. Raises `RefusalError`."""
        if _TOKEN.fullmatch(token) is None:
            raise _unknown()
        session = Session(tenant, token)
        try:
            (kept,) = await self._store.get([session.key])
        except UnreachableError as error:
            raise unavailable("sessions can't be looked up at the moment", 1.0) from error
        if kept is None or kept.answer is None:
            raise _unknown()
        for name, message_id in orjson.loads(kept.answer):
            session.add(name, message_id)
        return session


def _unknown() -> RefusalError:
    return not_found("there is no such session: it asked nothing, or was over too long ago")
