"""Keeps what the workers measure at hand for routes that prefer the fastest target."""

import asyncio
from collections.abc import Callable

import structlog

from schemas.fleet_state import TELL_EVERY
from workers.core.board import Board
from workers.core.errors import NotYetError, UnreachableError
from workers.policies.prefer import Speeds, speeds_of

log = structlog.get_logger()


async def follow_speeds(board: Board, speeds: Speeds, wanted: Callable[[], bool]) -> None:
    """Read the board every few seconds until cancelled, while a route asks for it. What can't be read stays as it was."""
    while True:
        if wanted():
            try:
                standing = await board.look()
            except (UnreachableError, NotYetError) as error:
                log.warning("speeds_unknown", error=str(error), so="routes go on by what was known before")
            else:
                reports = [
                    {target: read.instances for target, read in process.reads.items()}
                    for process in standing.processes
                ]
                speeds.current = speeds_of(reports)
        await asyncio.sleep(2 * TELL_EVERY)
