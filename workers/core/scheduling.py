"""How the kernel shares the processors among our processes and those that they start."""

import os
from contextlib import suppress


def take_turns(wanted: bool) -> None:
    """Do not interrupt whoever runs when a message wakes us (`SCHED_BATCH`); threads and children do as we do.

    The processes of a fleet wake one another at each message. On few cores every wake-up would take the core from
    somebody halfway through a batch, for one message; taking turns, each finds many when its turn comes. A free core
    is taken at once either way. To be called before any thread starts. Whoever was given a policy keeps it, and
    nothing happens where the system knows none (not Linux) or forbids to choose (a sandbox).
    """
    if not wanted or not hasattr(os, "SCHED_BATCH"):
        return
    with suppress(OSError):
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
