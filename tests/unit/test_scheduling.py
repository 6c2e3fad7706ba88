"""Processes of the fleet take turns on the processors, and so does what they start."""

import os
import subprocess
import sys

import pytest

_POLICY = "import os; print(os.sched_getscheduler(0))"
_TOLD = f"""
import subprocess, sys, threading
from workers.core.scheduling import take_turns
take_turns({{wanted}})
{_POLICY}
thread = threading.Thread(target=lambda: print(os.sched_getscheduler(0)))
thread.start(); thread.join(); sys.stdout.flush()
subprocess.run([sys.executable, "-c", {_POLICY!r}], check=True)
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has this policy")


def _policies(code: str, given: int = 0) -> set[int]:
    """Of the process itself, of a thread and of a child, which began with the policy `given`."""
    before = f"import os; os.sched_setscheduler(0, {given}, os.sched_param(0))\n"
    done = subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True, check=True)
    lines = done.stdout.split()
    assert len(lines) == 3, done.stdout
    return set(map(int, lines))


def test_whoever_takes_turns_passes_it_on_to_threads_and_children() -> None:
    assert _policies(_TOLD.format(wanted=True)) == {os.SCHED_BATCH}


def test_whoever_does_not_want_to_is_left_as_it_was() -> None:
    assert _policies(_TOLD.format(wanted=False)) == {os.SCHED_OTHER}


def test_a_policy_that_was_given_stays() -> None:
    assert _policies(_TOLD.format(wanted=True), os.SCHED_IDLE) == {os.SCHED_IDLE}


@pytest.mark.parametrize(
    ("setting", "policy"), [(None, "SCHED_BATCH"), ("0", "SCHED_OTHER"), ("off", "SCHED_OTHER")]
)
def test_every_command_takes_turns_unless_the_environment_says_no(setting: str | None, policy: str) -> None:
    code = (
        "import workers.__main__ as entry\nentry.app = lambda: print(os.sched_getscheduler(0))\nentry.main()"
    )
    environment = {"PATH": "/usr/bin:/bin", **({"RELAYFLEET_TAKE_TURNS": setting} if setting else {})}
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.sched_setscheduler(0, 0, os.sched_param(0))\n{code}"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.split() == [str(int(getattr(os, policy)))]
