"""What a message costs, in calls of our own functions and in instructions: the same on every machine, so that it may be held.

A bound is the present number and a tenth of the calls, a twentieth of the instructions (Python 3.11's; later ones need
fewer). Who adds something that is worth it raises them, knowingly; what made them grow is in
`python -m benchmarks.hot_paths --profile worker`, and what that means in microseconds without `--profile`.
"""

import pytest

from benchmarks.hot_paths import PATHS, calls, instructions


@pytest.mark.parametrize(
    ("path", "most"), [("gateway", 140), ("worker", 186), ("route", 48), ("classify", 137)]
)
def test_a_message_makes_no_more_calls_than_it_did(path: str, most: int) -> None:
    made = calls(PATHS[path][1], few=500, many=1500)
    assert most * 0.5 < made <= most, (
        f"{made:.0f} calls a message: much fewer means that this bound is too wide"
    )


@pytest.mark.parametrize(
    ("path", "most"), [("gateway", 3470), ("worker", 4560), ("route", 890), ("classify", 3450)]
)
def test_a_message_takes_no_more_instructions_than_it_did(path: str, most: int) -> None:
    done = instructions(PATHS[path][1])
    assert most * 0.5 < done <= most, (
        f"{done:.0f} instructions a message: much fewer means that this bound is too wide"
    )
