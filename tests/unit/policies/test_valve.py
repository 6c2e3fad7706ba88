"""The safety valve: when a target stops, and how it goes on."""

from hypothesis import given
from hypothesis import strategies as st

from workers.policies.valve import MOVES, Change, Flow, Valve, ValvePolicy

POLICY = ValvePolicy(ratio=0.5, window=60.0, min_messages=4, run=3, stop_for=30.0, probes=2)
BY_RATIO = ValvePolicy(ratio=0.5, window=60.0, min_messages=4, stop_for=30.0, probes=2)


def one(valve: Valve, now: float, *, dead: bool) -> Change | None:
    assert valve.admits(now)
    ticket, _ = valve.take()
    return valve.settled(ticket, dead=dead, now=now)


def stopped(policy: ValvePolicy = BY_RATIO) -> Valve:
    valve = Valve(policy)
    for _ in range(policy.min_messages):
        one(valve, 0.0, dead=True)
    assert valve.flow is Flow.STOPPED
    return valve


def test_past_the_ratio_it_stops_and_says_why() -> None:
    valve = Valve(BY_RATIO)
    changes = [one(valve, 1.0, dead=dead) for dead in (True, False, True, False)]
    assert changes[-1] == Change(
        Flow.FLOWING, Flow.STOPPED, "2 of 4 messages became dead letters within 60 s"
    )
    assert not valve.admits(1.0)


def test_a_few_poison_messages_stop_nothing() -> None:
    valve = Valve(BY_RATIO)
    for number in range(200):
        one(valve, number / 10, dead=number % 3 == 2)
    assert valve.flow is Flow.FLOWING


def test_a_run_of_dead_letters_stops_it_before_the_minimum() -> None:
    valve = Valve(POLICY)
    changes = [one(valve, 0.0, dead=True) for _ in range(3)]
    assert changes == [None, None, Change(Flow.FLOWING, Flow.STOPPED, "3 dead letters in a row")]


def test_a_good_message_ends_a_run() -> None:
    valve = Valve(ValvePolicy(ratio=1.0, min_messages=100, run=3))
    for dead in (True, True, False, True, True):
        one(valve, 0.0, dead=dead)
    assert valve.flow is Flow.FLOWING


def test_probes_that_do_well_let_it_flow_again() -> None:
    valve = stopped()
    assert not valve.admits(29.9)
    assert valve.admits(30.0)
    first, change = valve.take()
    assert change is not None
    assert change.after is Flow.PROBING
    second, _ = valve.take()
    assert not valve.admits(99.0)
    assert valve.settled(first, dead=False, now=31.0) is None
    assert valve.settled(second, dead=False, now=31.0) == Change(
        Flow.PROBING, Flow.FLOWING, "2 probes did well"
    )


def test_a_probe_that_becomes_a_dead_letter_stops_it_again() -> None:
    valve = stopped()
    change = one(valve, 30.0, dead=True)
    assert change == Change(Flow.PROBING, Flow.STOPPED, "a probe became a dead letter")
    assert not valve.admits(59.0)


def test_a_probe_without_an_outcome_makes_room_for_another() -> None:
    valve = stopped()
    tickets = [valve.take()[0] for _ in range(2)]
    valve.abandon(tickets[0])
    assert valve.admits(30.0)


def test_an_operator_lets_it_flow_at_once_with_a_clean_slate() -> None:
    valve = stopped()
    assert valve.resume() == Change(Flow.STOPPED, Flow.FLOWING, "resumed by command")
    assert valve.resume() is None
    assert one(valve, 1.0, dead=True) is None
    assert valve.flow is Flow.FLOWING


def test_messages_taken_before_the_stop_do_not_count_as_probes() -> None:
    valve = Valve(BY_RATIO)
    old, _ = valve.take()
    for _ in range(4):
        one(valve, 0.0, dead=True)
    valve.take()
    assert valve.settled(old, dead=True, now=31.0) is None
    assert valve.flow is Flow.PROBING


@given(st.lists(st.tuples(st.sampled_from(["take", "good", "dead", "abandon", "resume"]), st.floats(0, 40))))
def test_every_move_is_legal_and_it_never_stays_stopped_for_ever(steps: list[tuple[str, float]]) -> None:
    valve, now, taken = Valve(POLICY), 0.0, list[int]()
    flow = Flow.FLOWING
    for step, wait in steps:
        now += wait
        change: Change | None = None
        if step == "resume":
            change = valve.resume()
        elif step == "take" and valve.admits(now):
            ticket, change = valve.take()
            taken.append(ticket)
        elif step == "abandon" and taken:
            valve.abandon(taken.pop())
        elif step in {"good", "dead"} and taken:
            change = valve.settled(taken.pop(0), dead=step == "dead", now=now)
        if change is not None:
            assert change.before is flow
            assert change.after in MOVES[flow]
            flow = change.after
        assert valve.flow is flow
        assert flow is not Flow.STOPPED or valve.admits(now + POLICY.stop_for)
        assert flow is not Flow.PROBING or valve.admits(now) or valve._ticket in taken
