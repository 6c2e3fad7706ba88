from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from workers.policies.lanes import Lanes


def test_a_message_behind_another_of_its_key_waits_and_others_pass() -> None:
    lanes: Lanes[str] = Lanes()
    for item, lane in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("free", None)):
        lanes.add(item, lane)
    assert [lanes.next(), lanes.next(), lanes.next()] == ["a1", "b1", "free"]
    assert lanes.next() is None
    assert len(lanes) == 1
    lanes.done("a")
    assert lanes.next() == "a2"
    assert not lanes.ready


def test_dropping_takes_the_waiting_items_and_frees_the_lane_for_a_new_owner() -> None:
    lanes: Lanes[tuple[int, str]] = Lanes()
    for item in ((1, "x"), (1, "y"), (2, "z")):
        lanes.add(item, (item[0], "k"))
    assert lanes.next() == (1, "x")
    dropped = lanes.drop(lambda item: item[0] == 1, lambda lane: isinstance(lane, tuple) and lane[0] == 1)
    assert dropped == [(1, "y")]
    lanes.done((1, "k"))
    assert lanes.next() == (2, "z")
    assert len(lanes) == 0


KEYS = st.sampled_from(["a", "b", "c", None])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), KEYS),
        st.tuples(st.just("next"), st.none()),
        st.tuples(st.just("done"), st.integers(0, 9)),
    )
)


class Model:
    """What was added and started, a key at a time."""

    def __init__(self) -> None:
        self.lanes: Lanes[tuple[str | None, int]] = Lanes()
        self.added: dict[str | None, list[int]] = defaultdict(list)
        self.started: dict[str | None, list[int]] = defaultdict(list)
        self.running: list[tuple[str | None, int]] = []

    def add(self, key: str | None, number: int) -> None:
        self.lanes.add((key, number), key)
        self.added[key].append(number)

    def start(self) -> None:
        item = self.lanes.next()
        if item is None:
            return
        assert item[0] is None or item[0] not in [key for key, _ in self.running], (
            "two of one key run at once"
        )
        self.running.append(item)
        self.started[item[0]].append(item[1])

    def done(self, which: int) -> None:
        if self.running:
            self.lanes.done(self.running.pop(which % len(self.running))[0])


@given(STEPS)
def test_a_key_keeps_its_order_has_one_running_at_a_time_and_nothing_is_forgotten(
    steps: list[tuple[str, str | int | None]],
) -> None:
    model = Model()
    for number, (step, argument) in enumerate(steps):
        if step == "next":
            model.start()
        elif isinstance(argument, int):
            model.done(argument)
        else:
            model.add(argument, number)
    taken = {key for key, _ in model.running}
    waiting = {key for key in model.added if model.added[key] != model.started[key]}
    assert model.lanes.ready or waiting <= taken, "a key waits that nobody holds"
    while model.lanes.ready or model.running:
        model.start()
        model.done(0)
    assert model.started == model.added
    assert len(model.lanes) == 0
