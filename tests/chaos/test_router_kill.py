"""SIGKILL at any moment loses nothing: every message that was sent is found downstream."""

import asyncio
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.router_process import RouterRig, Tap, envelope
from tests.support import eventually, produce

MESSAGES = 21_000
KILLS = 6


@pytest.fixture
def rig(kafka: str, tmp_path: Path) -> Iterator[RouterRig]:
    rig = RouterRig(kafka, tmp_path)
    yield rig
    rig.stop()


@pytest.mark.timeout(420)
async def test_a_router_killed_many_times_loses_no_message(
    rig: RouterRig, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.prepare()
    began = time.monotonic()
    tap = Tap(rig.bootstrap, rig.llm)
    ids = [f"m{number:05}" for number in range(MESSAGES)]
    share = MESSAGES // KILLS
    for kill in range(KILLS):
        router = rig.start("--member", "only")
        batch = [envelope(each) for each in ids[kill * share : (kill + 1) * share]]
        await asyncio.to_thread(produce, rig.bootstrap, rig.requests, batch)
        seen = tap.look()
        # Killed while it works through what came meanwhile: something of it is out, the rest is not.
        await eventually(partial(tap.grown, seen), 90, interval=0.001)
        assert await rig.end(router, signal.SIGKILL) == -signal.SIGKILL
    last = rig.start("--member", "only")
    await eventually(lambda: tap.look() == MESSAGES, 90)
    await rig.drained(90)
    assert await rig.end(last) == 0
    tap.look(0.3)
    lost = set(ids) - set(tap.ids)
    with capsys.disabled():
        print(  # noqa: T201 - the numbers are the point
            f"\nrouter killed {KILLS} times: sent {len(ids)}, outcomes {len(tap.ids)}, lost {len(lost)}, "
            f"duplicates {tap.duplicates}, {time.monotonic() - began:.1f} s"
        )
    tap.close()
    assert not lost
    assert tap.ids.keys() <= set(ids)
