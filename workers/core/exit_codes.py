"""Exit codes of every command and process; scripts and supervisors rely on them."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Why a process ended."""

    DONE = 0
    FAILED = 1  # done, but something of it failed
    USAGE = 2  # wrong usage or bad input: trying again changes nothing
    DIFFERENT = 3  # differences found
    UNREACHABLE = 4  # the broker or a backend can't be reached
    FATAL = 70  # a promise can't be kept (a record could not be delivered): restart, work repeats, nothing is lost
    STUCK = 71  # no progress while there is lag: restart
    ABORTED = 130  # a second signal cut the drain short: work repeats, nothing is lost
