"""What `topology apply` makes of the processes that run and of what is left of a target that is gone."""

import pytest

from schemas.fleet_state import DropOrder, ProcessState, ReadState
from workers.commands.topology_live import Live, refuse
from workers.core.board import Standing, standing
from workers.core.records import Received

WORKER = ProcessState(
    process="w", kind="worker", deployment="d", version="v", reads={"llm": ReadState(joined=True)}
)
LEAVING = WORKER.model_copy(update={"reads": {"gone": ReadState(joined=True)}})


@pytest.mark.parametrize(
    ("processes", "dropped", "refused"),
    [
        ((LEAVING,), (), True),
        ((WORKER, LEAVING), (), True),
        ((), (), True),
        ((LEAVING,), ("gone",), False),
        ((WORKER,), (), False),
    ],
    ids=["worked off", "by one of two", "nothing runs", "given up", "given up before"],
)
def test_a_removed_target_keeps_its_place_while_work_is_left_unless_told(
    processes: tuple[ProcessState, ...], dropped: tuple[str, ...], refused: bool
) -> None:
    assert refuse(Live("v", Standing(processes), left={"gone": 3}), dropped) is refused


def test_a_board_is_what_each_process_said_last_those_that_left_and_others_excepted() -> None:
    router = ProcessState(process="r", kind="router", deployment="d", version="v", leads_to=("llm",))
    said = (
        WORKER.model_copy(update={"version": "before"}),
        WORKER,
        router,
        router.model_copy(update={"process": "left", "leads_to": ("x",)}),
        router.model_copy(update={"process": "left", "gone": True}),
        router.model_copy(update={"process": "other", "deployment": "elsewhere"}),
        DropOrder(drop="gone", deployment="d"),
        DropOrder(drop="theirs", deployment="elsewhere"),
    )
    values = [each.model_dump_json().encode() for each in said]
    records = [
        Received("fleet_state", 0, offset, None, value, (), 0)
        for offset, value in enumerate([*values, b"damaged", None])
    ]
    found = standing(records, "d")
    assert {each.process: each.version for each in found.processes} == {"w": "v", "r": "v"}
    assert found.read == found.led_to == frozenset({"llm"})
    assert found.dropped == frozenset({"gone"})


def test_a_target_is_led_to_by_fallbacks_too_and_read_once_a_worker_has_joined() -> None:
    reads = {"new": ReadState(joined=False), "llm": ReadState(joined=True, hands_to=("small",))}
    found = Standing((WORKER.model_copy(update={"reads": reads}),))
    assert found.read == frozenset({"llm"})
    assert found.led_to == frozenset({"small"})
