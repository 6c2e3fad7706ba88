"""How many tokens a backend says it used."""

from typing import Any, TypeGuard

from schemas.envelope import MAX_COUNT


def is_count(value: Any) -> TypeGuard[int]:
    """Whether it is a number of things that every format holds."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT


def together(first: int, second: int) -> int:
    """The sum of two counts, which is one."""
    return min(first + second, MAX_COUNT)
