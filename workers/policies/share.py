"""Part of a route's messages, chosen by key: of one key all of them or none, today and tomorrow, on every router."""

import hashlib
from dataclasses import dataclass

from workers.policies.subject import Asked

_BITS = 64


@dataclass(frozen=True, slots=True)
class Share:
    """`percent` of the keys go to `target`. With a larger one the keys that went there still do.

    `salt` makes the choices of different routes, and those for different ends, independent of each other.
    """

    target: str
    percent: float
    salt: bytes
    below: int = 0  # of the 64-bit hashes, those of the share are smaller

    @classmethod
    def of(cls, target: str, percent: float, *names: str) -> "Share":
        """The share of a route: `names` are the route's and what the share is for."""
        salt = hashlib.blake2b("\0".join(names).encode("utf-8", "replace"), digest_size=16).digest()
        return cls(target, percent, salt, round(percent / 100 * 2**_BITS))

    def takes(self, key: bytes) -> bool:
        """Whether messages of this key belong to it."""
        digest = hashlib.blake2b(key, digest_size=_BITS // 8, key=self.salt).digest()
        return int.from_bytes(digest, "big") < self.below


def key_of(asked: Asked) -> bytes:
    """What keeps messages together: the record's key; where it is not known yet, the one that the router would give it."""
    if asked.key is not None:
        return asked.key
    payload = asked.request.payload
    key = payload.session_id or payload.user_id or asked.request.message_id
    return key.encode("utf-8", "replace")
