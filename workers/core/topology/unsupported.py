"""What the file format has room for and no part of the fleet does yet: refused by name, never ignored.

An entry goes when its behaviour comes; nothing else has to change.
"""

from collections.abc import Iterator
from typing import Any

from workers.core.topology.problems import Fault, Path

ANY = "*"

KEYS: tuple[tuple[Path, str], ...] = ()
"""Keys that nothing implements yet, each with what works instead."""

MECHANISMS = ("OAUTHBEARER",)
"""SASL mechanisms that no client can be set up for yet."""


def not_supported_yet(data: Any) -> Iterator[Fault]:
    """A fault for everything in the data that stands in one of the lists above."""
    for pattern, instead in KEYS:
        for path in _matches(data, pattern):
            yield Fault(path, f"not supported yet: `{path[-1]}`", f"{instead}", at_key=True)
    for path in _matches(data, ("kafka", "security", "mechanism")):
        value = _at(data, path)
        if value in MECHANISMS:
            yield Fault(path, f"not supported yet: mechanism {value!r}", "PLAIN and SCRAM are")


def _matches(data: Any, pattern: Path, path: Path = ()) -> Iterator[Path]:
    if not pattern:
        if data is not None:
            yield path
        return
    items: Iterator[tuple[str | int, Any]] = iter(())
    if isinstance(data, dict):
        items = iter(data.items())
    elif isinstance(data, list):
        items = iter(enumerate(data))
    for name, inner in items:
        if pattern[0] in (ANY, name):
            yield from _matches(inner, pattern[1:], (*path, name))


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data
