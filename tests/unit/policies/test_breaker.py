"""The breaker: when it opens, what it lets through, and how it closes."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workers.policies.breaker import MOVES, Breaker, BreakerPolicy, State, Transition

POLICY = BreakerPolicy(error_rate=0.5, window=10.0, min_calls=4, open_for=15.0, probes=2)
SLOW = BreakerPolicy(
    error_rate=0.5, slow_call=1.0, slow_rate=0.8, window=10.0, min_calls=4, open_for=15.0, probes=2
)


def one(breaker: Breaker, now: float, *, failed: bool = False, seconds: float = 0.1) -> Transition | None:
    assert breaker.allows(now)
    ticket, _ = breaker.begin()
    return breaker.end(ticket, failed=failed, seconds=seconds, now=now)


def opened(policy: BreakerPolicy = POLICY, now: float = 0.0) -> Breaker:
    breaker = Breaker(policy)
    for _ in range(policy.min_calls):
        one(breaker, now, failed=True)
    assert breaker.state is State.OPEN
    return breaker


def test_it_opens_at_the_error_rate_and_says_why() -> None:
    breaker = Breaker(POLICY)
    moves = [one(breaker, 1.0, failed=failed) for failed in (False, False, True, True)]
    assert moves == [
        None,
        None,
        None,
        Transition(State.CLOSED, State.OPEN, "2 of 4 calls failed within 10 s"),
    ]
    assert not breaker.allows(1.0)


def test_fewer_calls_than_the_minimum_open_nothing() -> None:
    breaker = Breaker(POLICY)
    for _ in range(3):
        one(breaker, 0.0, failed=True)
    assert breaker.state is State.CLOSED


def test_failures_before_the_window_are_forgotten() -> None:
    breaker = Breaker(POLICY)
    for now in (0.0, 0.0, 0.0, 11.0, 22.0, 33.0):
        one(breaker, now, failed=True)
    assert breaker.state is State.CLOSED


def test_an_instance_that_is_alive_but_slow_is_taken_out_too() -> None:
    breaker = Breaker(SLOW)
    moves = [one(breaker, 1.0, seconds=2.0) for _ in range(4)]
    assert moves[-1] is not None
    assert moves[-1].reason == "4 of 4 calls took longer than 1 s within 10 s"


def test_slow_calls_count_only_where_the_topology_says_what_slow_is() -> None:
    breaker = Breaker(POLICY)
    for _ in range(10):
        one(breaker, 1.0, seconds=100.0)
    assert breaker.state is State.CLOSED


def test_no_call_passes_until_the_time_is_over_and_then_only_the_probes() -> None:
    breaker = opened()
    assert not breaker.allows(14.9)
    assert breaker.allows(15.0)
    _, move = breaker.begin()
    assert move is not None
    assert (move.before, move.after) == (State.OPEN, State.HALF_OPEN)
    assert breaker.allows(15.0)
    breaker.begin()
    assert not breaker.allows(15.0)
    assert not breaker.allows(1000.0)


def test_it_closes_when_every_probe_succeeded() -> None:
    breaker = opened()
    assert one(breaker, 15.0) is None
    move = one(breaker, 15.0)
    assert move == Transition(State.HALF_OPEN, State.CLOSED, "2 probes succeeded")


def test_one_failed_probe_opens_it_for_the_whole_time_again() -> None:
    breaker = opened()
    one(breaker, 15.0)
    move = one(breaker, 16.0, failed=True)
    assert move == Transition(State.HALF_OPEN, State.OPEN, "a probe failed")
    assert not breaker.allows(30.9)
    assert breaker.allows(31.0)


def test_a_slow_probe_is_a_failed_one() -> None:
    breaker = opened(SLOW)
    move = one(breaker, 15.0, seconds=2.0)
    assert move == Transition(State.HALF_OPEN, State.OPEN, "a probe was slow")


def test_a_probe_that_was_abandoned_leaves_room_for_another() -> None:
    breaker = opened()
    tickets = [breaker.begin()[0] for _ in range(2)]
    assert not breaker.allows(15.0)
    breaker.abandon(tickets[0])
    assert breaker.allows(15.0)


def test_calls_from_before_the_last_move_say_nothing() -> None:
    breaker = Breaker(POLICY)
    old, _ = breaker.begin()
    for _ in range(4):
        one(breaker, 0.0, failed=True)
    breaker.begin()
    assert breaker.end(old, failed=True, seconds=15.0, now=15.0) is None
    breaker.abandon(old)
    assert breaker.state is State.HALF_OPEN
    assert breaker.end(old, failed=False, seconds=15.0, now=15.0) is None
    assert breaker.state is State.HALF_OPEN


def test_a_closed_breaker_starts_with_a_clean_window() -> None:
    breaker = opened()
    one(breaker, 15.0)
    one(breaker, 15.0)
    assert one(breaker, 15.1, failed=True) is None
    assert breaker.state is State.CLOSED


class BreakerMachine(RuleBasedStateMachine):
    """Any order of calls, results, abandoned calls and time."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(SLOW)
        self.now = 0.0
        self.under_way: list[tuple[int, State]] = []
        self.moves: list[Transition] = []

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.breaker.allows(self.now))
    @rule()
    def begin(self) -> None:
        ticket, move = self.breaker.begin()
        self.moves += [move] if move is not None else []
        self.under_way.append((ticket, self.breaker.state))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), failed=st.booleans(), seconds=st.floats(0, 3))
    def end(self, data: st.DataObject, failed: bool, seconds: float) -> None:
        ticket, _ = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        move = self.breaker.end(ticket, failed=failed, seconds=seconds, now=self.now)
        self.moves += [move] if move is not None else []

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        ticket, _ = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.breaker.abandon(ticket)

    @invariant()
    def every_move_is_legal_and_told(self) -> None:
        states = [State.CLOSED, *(move.after for move in self.moves)]
        assert states[-1] is self.breaker.state
        for move, before in zip(self.moves, states, strict=False):
            assert move.before is before
            assert move.after in MOVES[before]
            assert move.reason

    @invariant()
    def no_more_probes_are_under_way_than_allowed(self) -> None:
        if self.breaker.state is State.HALF_OPEN:
            current = [ticket for ticket, _ in self.under_way if ticket == self.breaker._ticket]
            assert len(current) <= SLOW.probes

    @invariant()
    def it_never_stays_shut_for_ever(self) -> None:
        if self.breaker.state is State.OPEN:
            assert self.breaker.allows(self.now + SLOW.open_for)
        elif self.breaker.state is State.HALF_OPEN and not self.breaker.allows(self.now):
            assert any(ticket == self.breaker._ticket for ticket, _ in self.under_way)


TestAnyOrder = BreakerMachine.TestCase
TestAnyOrder.settings = settings(max_examples=40, deadline=None)
