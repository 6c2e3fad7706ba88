"""`relayfleet send` and `relayfleet tail` on a running fleet: what they print, and how they exit."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.fleet import Fleet
from tests.processes import ROOT
from tests.support import unique
from workers.core.exit_codes import ExitCode

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _run(
    fleet: Fleet, *arguments: str, given: str = "", kafka: str | None = None
) -> tuple[int, list[dict[str, Any]], str]:
    """Run a command with `-o json`; returns its exit code, its lines of standard output, and standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "workers",
        *arguments,
        *("--topology", str(fleet.topology), "--kafka", kafka or fleet.bootstrap, "-o", "json"),
        cwd=ROOT,
        env=dict(fleet.environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(given.encode())
    assert process.returncode is not None
    return process.returncode, [orjson.loads(line) for line in output.splitlines()], errors.decode()


def _line(message_id: str, text: str) -> str:
    return orjson.dumps({"message_id": message_id, "payload": {"text": text}}).decode() + "\n"


async def test_a_text_is_sent_and_its_answer_printed(fleet: Fleet) -> None:
    code, (outcome,), _ = await _run(fleet, "send", "--text", "我的订单 20240501 到哪了", "--wait")
    assert code == ExitCode.DONE
    assert (outcome["status"], outcome["route"]["target"]) == ("ok", "orders")
    assert "运输中" in outcome["payload"]["text"]


async def test_lines_of_standard_input_are_sent_and_an_error_among_the_outcomes_is_told(fleet: Fleet) -> None:
    good, bad = unique("good"), unique("bad")
    lines = _line(good, "我的订单 20240501 到哪了") + _line(bad, "我的订单到哪了")
    code, outcomes, _ = await _run(fleet, "send", "-", "--wait", given=lines)
    assert code == ExitCode.FAILED
    assert {each["message_id"]: each["status"] for each in outcomes} == {good: "ok", bad: "error"}


async def test_an_outcome_that_does_not_come_is_told_as_missing(fleet: Fleet, tmp_path: Path) -> None:
    fleet.misbehave(hang_rate=1.0)
    message_id, file = unique("late"), tmp_path / "one.jsonl"
    file.write_text(_line(message_id, "hello"))
    code, (missing,), _ = await _run(fleet, "send", str(file), "--wait", "--timeout", "0.3")
    assert code == ExitCode.FAILED
    assert (missing["message_id"], missing["status"]) == (message_id, "missing")


async def test_a_file_with_a_line_that_is_no_envelope_is_refused_whole(fleet: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    file.write_text(_line(unique("fine"), "hello") + "{not json\n")
    code, printed, errors = await _run(fleet, "send", str(file))
    assert (code, printed) == (ExitCode.USAGE, [])
    assert f"{file}:2" in errors


async def test_a_kafka_that_is_not_there_is_said(fleet: Fleet) -> None:
    code, printed, errors = await _run(fleet, "send", "--text", "hello", kafka="127.0.0.1:1")
    assert (code, printed) == (ExitCode.UNREACHABLE, [])
    assert "127.0.0.1:1" in errors


async def test_the_pieces_of_a_streamed_answer_are_shown_in_their_order(fleet: Fleet) -> None:
    message_id = unique("streamed")
    line = orjson.dumps({"message_id": message_id, "payload": {"text": "hello", "stream": True}}).decode()
    _, (outcome,), _ = await _run(fleet, "send", "-", "--wait", given=line + "\n")
    code, shown, _ = await _run(fleet, "tail", "chunks", "-n", "500", "--no-follow")
    assert code == ExitCode.DONE
    found = [each for each in shown if each["message_id"] == message_id]
    assert [each["index"] for each in found] == list(range(len(found)))
    assert "".join(each["text"] for each in found) == outcome["payload"]["text"]
    assert found[-1]["final"]


async def test_the_last_responses_are_shown_with_their_place(fleet: Fleet) -> None:
    _, (outcome,), _ = await _run(fleet, "send", "--text", "我的订单 20240501 到哪了", "--wait")
    code, shown, _ = await _run(fleet, "tail", "responses", "-n", "200", "--no-follow")
    assert code == ExitCode.DONE
    (found,) = [each for each in shown if each["message_id"] == outcome["message_id"]]
    assert found["position"].startswith(fleet.names["responses"])
    assert found == {**outcome, "position": found["position"]}
