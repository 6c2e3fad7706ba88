"""Backends from a topology: one for each instance of a target."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from workers.backends.openai import OpenAIBackend
from workers.backends.sql import SqlBackend
from workers.core.clock import Clock
from workers.core.errors import UsageError
from workers.core.ports import Backend
from workers.core.topology.model import OpenAITarget, SqlTarget, Target


@dataclass(frozen=True, slots=True)
class OpenedBackend:
    """A backend with its share of the target's messages and the calls it takes at once."""

    backend: Backend
    weight: float = 1.0
    concurrency: int | Literal["adaptive"] = 64


def open_backends(name: str, target: Target, clock: Clock) -> Sequence[OpenedBackend]:
    """The backends of target `name`, in the topology's order; nothing is connected yet.

    Raises `UsageError` that names the target, for settings with which no call could ever work.
    """
    try:
        return _open(target, clock)
    except UsageError as error:
        raise UsageError(f"targets.{name}: {error}") from error


def _open(target: Target, clock: Clock) -> Sequence[OpenedBackend]:
    match target:
        case OpenAITarget():
            opened = [
                OpenedBackend(OpenAIBackend(instance, target, clock), instance.weight, instance.concurrency)
                for instance in target.instances
            ]
        case SqlTarget():
            opened = [OpenedBackend(SqlBackend(target), concurrency=target.concurrency)]
    _refuse_twins(opened)
    return opened


def _refuse_twins(opened: Sequence[OpenedBackend]) -> None:
    """Metrics, breakers and session affinity know an instance by its name."""
    seen: set[str] = set()
    for one in opened:
        if one.backend.name in seen:
            raise UsageError(f"two instances are called {one.backend.name}; raise the weight of one instead")
        seen.add(one.backend.name)
