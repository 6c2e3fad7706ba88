"""The examples of `relayfleet up`: sent, followed, shown."""

import asyncio
import io
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from schemas import headers as h
from schemas.codec import decode_request
from schemas.errors import DecodeError
from schemas.events import Step
from workers.commands.up_demo import Demo
from workers.commands.up_examples import Example, Outcome, Tracker, read_examples
from workers.commands.up_view import PlainView, TerminalView, View
from workers.core.clock import ManualClock
from workers.core.errors import UsageError
from workers.core.records import Headers, Outgoing, Received
from workers.core.topology.load import load_topology
from workers.core.topology.names import Names
from workers.local.supervisor import Change, State

ROOT = Path(__file__).parents[3]
NAMES = Names(load_topology(ROOT / "topology.yaml", {}))


def shipped() -> list[Example]:
    return read_examples(ROOT / "examples" / "requests.jsonl", NAMES.requests, "r1", 1_800_000_000.5)


def received(topic: str, value: bytes, key: bytes | None = None, headers: Headers = ()) -> Received:
    return Received(topic, 0, 0, key, value, headers, 0)


def response(message_id: str, *, error: str | None = None) -> Received:
    payload = (
        {"error": {"code": error, "reason": "no\nroom", "retryable": True}}
        if error
        else {"text": "an\nanswer"}
    )
    fields = {
        "message_id": message_id,
        "source": "llm",
        "payload": payload | {"model": "m"},
        "status": "error" if error else "ok",
        "route": {"target": "llm", "rule": "default", "attempts": 1},
        "timing": {"total": 12.0},
        "timestamp": 1.0,
    }
    return received(NAMES.responses, json.dumps(fields).encode())


def event(message_id: str, step: Step, **fields: str) -> Received:
    value = {"event": step, "message_id": message_id, "timestamp": 1.0, "process": "router", **fields}
    return received(NAMES.logs, json.dumps(value).encode())


def dead_letter(key: bytes) -> Received:
    headers = ((h.ERROR_CLASS, b"schema"), (h.DLQ_MESSAGE, b"not JSON"))
    return received(NAMES.dead_letters, b"{", key, headers)


def test_the_shipped_examples_are_envelopes_but_for_one_poison_line() -> None:
    unreadable = []
    for example in shipped():
        try:
            request = decode_request(example.record.value).request
        except DecodeError:
            unreadable.append(example)
        else:
            assert request.message_id == example.message_id
            assert request.timestamp == 1_800_000_000.5
    assert len(shipped()) >= 20
    assert [example.readable for example in unreadable] == [False]


def test_the_first_example_is_the_one_of_the_contract() -> None:
    first = json.loads((ROOT / "examples" / "requests.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["message_id"] == "req_12345"
    assert first["payload"]["text"] == "推荐一款5000元以内的笔记本电脑"


def test_a_run_marks_its_ids_and_keeps_unknown_fields_and_keys() -> None:
    examples = {example.message_id: example for example in shipped()}
    known = json.loads(examples["req_12360.r1"].record.value or b"")
    assert known["tenant"] == {"name": "acme", "plan": "gold"}
    assert examples["req_12349.r1"].record.key == b"s_77"
    assert examples["req_12346.r1"].record.key == b"u_1001"
    assert examples["req_12345.r1"].record.key == b"req_12345.r1"


@pytest.mark.parametrize("content", [None, b"", b"\n\n"])
def test_a_file_without_examples_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "none.jsonl"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=r"none\.jsonl.*--no-demo"):
        read_examples(file, "t", "r", 0)


def test_an_example_is_followed_from_event_to_event_to_its_response() -> None:
    examples = shipped()
    tracker = Tracker(examples, NAMES)
    tracker.sent(examples[0], now=1.0)
    assert tracker.take([event("req_12345.r1", Step.ROUTED, rule="default", target="llm")], 1.5) == []
    assert (examples[0].stage, examples[0].rule, examples[0].target) == ("at its target", "default", "llm")
    assert tracker.open == [examples[0]]
    assert tracker.take([response("req_12345.r1")], 2.0) == [examples[0]]
    assert (examples[0].outcome, examples[0].text, examples[0].ms) == (Outcome.ANSWERED, "an answer", 12.0)
    assert tracker.open == []


def test_a_failure_is_an_outcome_and_a_repeated_response_is_none() -> None:
    examples = shipped()
    tracker = Tracker(examples, NAMES)
    assert tracker.take([response("req_12345.r1", error="timeout")], 0) == [examples[0]]
    assert (examples[0].outcome, examples[0].text) == (Outcome.ERROR, "timeout: no room")
    assert tracker.take([response("req_12345.r1")], 0) == []
    assert examples[0].outcome is Outcome.ERROR


def test_only_what_nobody_could_read_ends_as_a_dead_letter() -> None:
    examples = shipped()
    tracker = Tracker(examples, NAMES)
    [poison] = [example for example in examples if not example.readable]
    tracker.sent(poison, now=1.0)
    assert tracker.take([response(poison.message_id, error="schema")], 1.1) == []
    assert tracker.take(
        [dead_letter(examples[0].record.key or b""), dead_letter(poison.record.key or b"")], 1.25
    ) == [poison]
    assert (poison.outcome, poison.text, poison.ms) == (Outcome.DEAD_LETTER, "schema: not JSON", 250.0)


def test_what_others_wrote_is_passed_over() -> None:
    tracker = Tracker(shipped(), NAMES)
    others = [received(topic, b"\xff", b"k") for topic in tracker.topics]
    others += [response("theirs"), event("theirs", Step.ROUTED), dead_letter(b"theirs")]
    assert tracker.take(others, 0) == []


class Chain:
    """A Kafka and a fleet in one: what is delivered is answered at one of the next reads."""

    def __init__(self, answer: Callable[[Outgoing], Received | None]) -> None:
        self._answer = answer
        self._waiting: list[Received] = []
        self.clock = ManualClock()
        self.most = self.before_the_first = 0

    def deliver(self, records: Sequence[Outgoing]) -> Awaitable[None]:
        self._waiting += [found for record in records if (found := self._answer(record)) is not None]
        self.most = max(self.most, len(self._waiting))
        self.before_the_first = self.before_the_first or len(self._waiting)
        return asyncio.sleep(0)

    async def read(self, wait: float) -> Sequence[Received]:
        self.clock.advance(wait)
        return [self._waiting.pop(0)] if self._waiting else []


def answered(record: Outgoing) -> Received:
    try:
        return response(decode_request(record.value).request.message_id)
    except DecodeError:
        return dead_letter(record.key or b"")


async def test_two_then_four_examples_are_under_way_until_all_have_their_outcome() -> None:
    chain, examples = Chain(answered), shipped()
    demo = Demo(examples, Tracker(examples, NAMES), PlainView(Console(file=io.StringIO())), chain.clock)
    summary = await demo.run(chain, chain)
    assert summary.complete
    assert (summary.count(Outcome.ANSWERED), summary.count(Outcome.DEAD_LETTER)) == (len(examples) - 1, 1)
    assert (chain.before_the_first, chain.most) == (2, 4)
    assert summary.first == pytest.approx(0.1)


async def test_the_wait_for_a_missing_outcome_ends() -> None:
    chain, examples = (
        Chain(lambda record: None if b"req_12350" in (record.value or b"") else answered(record)),
        shipped(),
    )
    demo = Demo(examples, Tracker(examples, NAMES), PlainView(Console(file=io.StringIO())), chain.clock)
    summary = await demo.run(chain, chain, patience=5)
    assert not summary.complete
    assert [example.message_id for example in examples if example.outcome is None] == ["req_12350.r1"]


def finished() -> list[Example]:
    examples = shipped()
    tracker = Tracker(examples, NAMES)
    for example in examples:
        tracker.take([answered(example.record)], 0)
    return examples


def shown(view_of: Callable[[Console], View], width: int) -> list[str]:
    output = io.StringIO()
    view = view_of(
        Console(file=output, width=width, height=24, force_terminal=view_of is TerminalView, no_color=True)
    )
    for state in State:
        view.change(Change("router", state, 1.25, "exit code 70 (fatal)"), "127.0.0.1:9101")
    view.begin(24)
    view.waiting(shipped())
    for example in finished():
        view.finished(example)
    view.end()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue()).splitlines()


def test_plain_lines_are_words_and_fields_of_a_stable_form() -> None:
    lines = shown(PlainView, 80)
    assert 'part part=router state=ready seconds=1.2 at=127.0.0.1:9101 why="exit code 70 (fatal)"' in lines
    assert 'answered id=req_12345.r1 source=web rule=default target=llm ms=12 text="an answer"' in lines
    assert 'dead-letter id=line11.r1 source=? ms=0 text="schema: not JSON"' in lines
    assert len(lines) == len(State) + 1 + 24


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_row_of_the_table_fits_the_terminal(width: int) -> None:
    lines = shown(TerminalView, width)
    assert max(cell_len(line) for line in lines if "req_" in line) <= width
    assert all(any(example.message_id in line for line in lines) for example in shipped())
