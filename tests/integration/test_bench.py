"""`relayfleet bench` for a few seconds, on real processes: its keys, its files, its report."""

import asyncio
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from benchmarks.load.calls import call
from benchmarks.load.ceiling import measure as ceiling
from benchmarks.load.http import Spec
from benchmarks.load.stub import Behaviour, Delays
from benchmarks.sections.recover import RESTARTED_AFTER
from benchmarks.store import Results
from tests.processes import ROOT, Process, free_port
from tests.support import eventually
from workers.core.settings import Settings

pytestmark = pytest.mark.timeout(420)


def _bench(*arguments: str) -> dict[str, Any]:
    """Run it to its end; what it printed."""
    command = [sys.executable, "-m", "workers", "bench", *arguments, "-o", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr.decode()
    printed: dict[str, Any] = orjson.loads(done.stdout)
    return printed


def test_a_short_run_loses_nothing_and_its_report_shows_every_stage(kafka: str, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    load = ("--rate", "100", "--seconds", "3", "--burst", "500", "--no-sweep", "--no-gateway")
    found = _bench("run", "--short", *load, "--kafka", kafka, "--out", out)["results"]
    steady = found["topic"]["steady"][0]
    assert (steady["sent"], steady["lost"], steady["errors"]) == (300, 0, 0)
    assert steady["latency_ms"]["count"] > 0
    assert {"to_router", "to_worker", "model", "worker", "publish"} == steady["stages_ms"].keys()
    assert {"broker", "router", "worker", "redis", "stub", "load"} <= steady["processes"].keys()
    assert found["topic"]["burst"][0]["lost"] == 0
    assert Results(tmp_path / "run").sections()["run"]["machine"]["others_before"] >= 0
    report = _bench("report", out)
    page = Path(report["html"]).read_text()
    assert page.count("<svg") >= 3
    assert "http://" not in page.replace("http://www.w3.org", "")  # it needs nothing from anywhere
    assert "whole chain, topic to topic" in Path(report["markdown"]).read_text()


def test_a_worker_and_a_gateway_that_are_killed_under_load_lose_nothing_and_the_keys_say_so(
    kafka: str, tmp_path: Path
) -> None:
    load = ("--kill", "worker", "--kill", "gateway", "--rate", "100", "--seconds", "4")
    found = _bench("recover", "--short", *load, "--kafka", kafka, "--out", str(tmp_path))
    assert found["sent"] == 1200
    assert found["lost"] == 0
    assert found["first_outcome_s"] > 0
    assert found["full_recovery_s"] >= found["first_outcome_s"]
    assert found["paid_twice"] <= 64
    assert found["duplicates"] >= 0
    worker, gateway = found["faults"]
    assert (worker["fault"], gateway["fault"]) == ("worker", "gateway")
    # Its clients have no answer until it is back, and then ask again.
    assert gateway["first_outcome_s"] > RESTARTED_AFTER


def test_a_soak_goes_on_where_it_ended_and_says_what_it_asked(kafka: str, tmp_path: Path) -> None:
    load = ("--users", "10", "--pace", "0.2", "--every", "0.5", "--warmup", "0")
    told = ("--kafka", kafka, "--out", str(tmp_path))
    first = _bench("soak", *load, "--seconds", "3", *told)
    longer = first["hours"] * 3600 + 3  # than the first one took, whatever that was
    both = _bench("soak", *load, "--seconds", f"{longer:g}", *told)
    assert (first["segments"], both["segments"]) == (1, 2)
    assert both["sent"] > first["sent"] > 0
    assert (both["errors"], both["lost"]) == (0, None)
    assert (both["users"], both["pace_s"], both["remember_s"]) == (10, 0.2, 60.0)
    assert {"broker", "router", "worker", "gateway", "redis", "stub"} == both["slopes"].keys()
    _bench("report", str(tmp_path))
    said = (tmp_path / "report.md").read_text()
    assert "10 users asked once in 0.2 s each; outcomes and answers were kept for 60 s" in said
    assert "lost –" in said


def test_a_broker_that_somebody_named_is_not_killed(kafka: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workers", "bench", "recover", "--kill", "broker", "--kafka", kafka]
    done = subprocess.run([*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"is not killed" in done.stderr


@pytest.fixture
async def stub(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """The fast backend with the options of the test; its address."""
    port = free_port()
    command = (sys.executable, "-m", "benchmarks.load.stub", "--port", str(port), *request.param)
    process = Process("stub", command, tmp_path / "log", Settings.read().environment)
    process.start()
    url = f"http://127.0.0.1:{port}"

    async def listens() -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                return (await client.get(f"{url}/health")).status_code == 200
            except httpx.HTTPError:
                return False

    try:
        await eventually(listens, 60)
        yield url
    finally:
        await process.kill()


@pytest.mark.parametrize("stub", [("--remember", "1")], indirect=True)
async def test_the_fast_backend_answers_whole_and_in_pieces_and_counts_what_is_paid_twice(stub: str) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        for call_id in ("a", "b", "a"):
            whole = await client.post(
                f"{stub}/v1/chat/completions", json={"messages": []}, headers={"x-request-id": call_id}
            )
        text = whole.json()["choices"][0]["message"]["content"]
        streamed = await client.post(f"{stub}/v1/chat/completions", json={"messages": [], "stream": True})
        events = [line.removeprefix("data: ") for line in streamed.text.splitlines() if line]
        report = (await client.get(f"{stub}/stub/calls")).json()
    assert events[-1] == "[DONE]"
    pieces = [orjson.loads(event)["choices"] for event in events[:-1]]
    assert "".join(choice[0]["delta"].get("content", "") for choice in pieces if choice) == text
    assert report["paid_twice"] == {"a": 2}


@pytest.mark.parametrize("stub", [()], indirect=True)
async def test_how_many_calls_the_fast_backend_answers_at_most_is_counted(stub: str) -> None:
    async def many() -> bool:
        return await ceiling(stub, 0.2) > 100

    await eventually(many, 60)  # one that nothing held up


@pytest.mark.parametrize("stub", [("--chunk-delay-ms", "20")], indirect=True)
async def test_the_first_piece_of_a_stream_is_seen_before_the_last(stub: str) -> None:
    body = '{"messages": [], "stream": true}'
    spec = Spec(f"{stub}/v1/chat/completions", body, 0.0, 0.5, "", rate=10.0, stream=True)

    async def seen_early() -> bool:
        found = (await asyncio.to_thread(call, spec, {}, 0.0)).streamed()
        assert found["errors"] == 0
        assert found["pieces"] > 10
        return bool(found["first_ms"]["max"] < found["whole_ms"]["p50"])

    await eventually(
        seen_early, 60
    )  # in a load that nothing held up; a first piece that waits for the last never is


@pytest.mark.parametrize(
    "stub", [("--error-rate", "1", "--error-status", "429", "--retry-after", "3")], indirect=True
)
async def test_the_fast_backend_refuses_as_it_is_told(stub: str) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        refused = await client.post(f"{stub}/v1/chat/completions", json={"messages": []})
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "3"


@pytest.mark.parametrize("shape", ["constant", "exponential", "lognormal"])
def test_delays_of_every_shape_have_the_mean_that_was_asked_for(shape: str) -> None:
    delays = Delays(Behaviour(delay_ms=200, delay_shape=shape), random.Random(1))
    drawn = [delays.draw() for _ in range(20_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(0.2, rel=0.03)
    assert (len(set(drawn)) == 1) == (shape == "constant")
