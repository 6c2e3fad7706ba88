"""Policies of a target whose numbers contradict each other."""

from collections.abc import Iterator

from pydantic import BaseModel

from workers.core.topology.model import Once, Retry, Target
from workers.core.topology.problems import Fault, Path
from workers.core.topology.values import format_duration


def check_numbers(path: Path, target: Target) -> Iterator[Fault]:
    """Faults of `retry`, `breaker`, `timeout` and `fallback` of one target."""
    yield from _retry((*path, "retry"), target.retry)
    yield from _breaker((*path, "breaker"), target)
    if (
        target.expires_after is not None
        and target.expires_after < target.timeout
        and _chosen(target, "timeout")
    ):
        yield Fault(
            (*path, "timeout"),
            f"a call may take {format_duration(target.timeout)}, and the message expires after {format_duration(target.expires_after)}",
            "make `timeout` shorter, or `expires_after` longer",
        )


def check_once(once: Once) -> Iterator[Fault]:
    """Faults of `once`."""
    if once.lease >= once.window:
        field = "lease" if "lease" in once.model_fields_set else "window"
        yield Fault(
            ("once", field),
            f"a claim of {format_duration(once.lease)} outlives the window of {format_duration(once.window)}",
            "make `lease` the shorter one",
        )


def _chosen(settings: BaseModel, field: str) -> bool:
    """Whether a value is somebody's choice: a default that another value makes idle is no mistake."""
    return bool(getattr(settings, field) != type(settings).model_fields[field].default)


def _retry(path: Path, retry: Retry) -> Iterator[Fault]:
    longest = format_duration(retry.max)
    if retry.initial > retry.max:
        field = "initial" if "initial" in retry.model_fields_set else "max"
        yield Fault(
            (*path, field),
            f"the first wait, {format_duration(retry.initial)}, is longer than the longest, {longest}",
            "set `initial` to `max` or less",
        )
    if retry.hold_up_to > retry.max and _chosen(retry, "hold_up_to"):
        yield Fault(
            (*path, "hold_up_to"),
            f"no wait is longer than max, {longest}: holding up to {format_duration(retry.hold_up_to)} can't happen",
            "set `hold_up_to` to `max` or less",
        )


def _breaker(path: Path, target: Target) -> Iterator[Fault]:
    breaker = target.breaker
    if breaker.slow_call is not None and breaker.slow_call > target.timeout:
        yield Fault(
            (*path, "slow_call"),
            f"a call is given up after {format_duration(target.timeout)}, so none is slower than {format_duration(breaker.slow_call)}",
            "set `slow_call` below `timeout`",
        )
    if breaker.slow_call is None and _chosen(breaker, "slow_rate"):
        yield Fault(
            (*path, "slow_rate"), "does nothing without `slow_call`", "say from which duration a call is slow"
        )
    if breaker.when_open == "fallback" and not target.fallback.when_open:
        yield Fault(
            (*path, "when_open"), "there is no `fallback` to go to", "name one, or choose `pause` or `reject`"
        )
