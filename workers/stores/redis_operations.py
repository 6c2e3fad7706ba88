"""Operations on leases as a Lua script takes them, and what it says to them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from workers.core.ports import Busy, Claim, Claimed, Recorded


class Script(NamedTuple):
    """A Lua script over `leases.lua`: its file, the keys and arguments before those of the operations.

    The first key is the counter of tokens, the first argument the lease in milliseconds; operations are under `prefix`.
    """

    file: str
    keys: Sequence[str]
    arguments: Sequence[int]
    prefix: str


class Do:
    """The letters by which the scripts know their functions."""

    CLAIM: Final = "c"
    RENEW: Final = "n"
    RELEASE: Final = "d"
    RECORD: Final = "r"
    REPLACE: Final = "p"


class Operation(NamedTuple):
    """One call of a function of the script. `outcome`: what `RECORD` and `REPLACE` bring, and no other does."""

    do: str
    key: str
    token: int = 0
    outcome: bytes | None = None


def written(script: Script, operations: Sequence[Operation]) -> tuple[list[str], list[bytes | str | int]]:
    """Keys and arguments of one call of the script."""
    keys, prefix = list(script.keys), script.prefix
    calls: list[str] = []
    outcomes: list[bytes] = []
    for do, key, token, outcome in operations:
        keys.append(prefix + key)
        calls.append(f"{do}{token}")
        if outcome is not None:
            outcomes.append(outcome)
    return keys, [*script.arguments, "".join(calls), *outcomes]


def claims(found: Sequence[bytes]) -> list[Claim]:
    """What the script says to claims."""
    return [_claim(each) for each in found]


def _claim(found: bytes) -> Claim:
    if found.startswith(b"L"):
        return Claimed(int(found[1:]))
    if found.startswith(b"O"):
        return Recorded(found[1:])
    return Busy(max(0.0, int(found[1:]) / 1000))
