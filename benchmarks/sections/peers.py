"""`relayfleet bench peers`: the same messages, broker and backend, worked off by us and by what others would write."""

import os
import secrets
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import uvloop
import yaml

from benchmarks.brokers import Broker
from benchmarks.figures import ratios, spread
from benchmarks.fleet import Fleet, Shape, answers, fleet
from benchmarks.load.backlog import create, fill, worked_off
from benchmarks.load.calls import FORWARD, call
from benchmarks.load.ceiling import measure as ceiling
from benchmarks.load.http import Spec
from benchmarks.peers.environments import NotInstalledError, python_of
from benchmarks.store import Results
from workers.core.settings import Settings
from workers.local.free_ports import Ports

_HERE = Path(__file__).parents[1]
PROGRAMS = {
    "faststream": "peers/faststream_app.py",
    "quix": "peers/quix_app.py",
    "faust": "peers/faust_app.py",
    "bare": "bare_worker.py",
}
NAMES = (*PROGRAMS, "litellm")
FEATURES: Mapping[str, Mapping[str, bool]] = {
    # what each has switched on while it is measured
    name: dict(
        zip(
            (
                "no loss when killed",
                "retries",
                "breaker",
                "dead letters",
                "once per id",
                "validation",
                "metrics and events",
                "calls side by side",
            ),
            (mark == "x" for mark in marks),
            strict=True,
        )
    )
    for name, marks in {
        "relayfleet": "xxxxxxxx",
        "faststream": ".......x",
        "quix": "x.......",
        "faust": ".......x",
        "bare": ".......x",
        "litellm": ".x.....x",
    }.items()
}
_STARTS_WITHIN = 180.0  # seconds; LiteLLM takes its time
_LEAST = 5.0  # seconds of the gateway path: with many users at once the first answers of a slow one come late
_OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # it would ask the internet for prices before it starts

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """Who is measured, how often, and for how many seconds each."""

    names: Sequence[str] = NAMES
    runs: int = 5
    seconds: float = 6.0
    users: int = 64  # of the gateway path
    messages: int = 120_000  # on the topic before anybody starts; slow peers get fewer
    gateway: bool = True


_SLOW = {"faststream": 0.1, "faust": 0.1, "quix": 0.2}  # share of `messages` that is more than they manage


def peers(kafka: Broker, plan: Plan, results: Results, say: Say) -> dict[str, Any]:
    """Measure everybody turn by turn, save, and return what `bench peers -o json` prints."""
    pythons, skipped = _install(plan, say)
    rates: dict[str, list[float]] = {}
    with fleet(kafka, Shape(routers=0, workers=0, redis=False)) as stubs:
        found = uvloop.run(ceiling(stubs.stub_url, 2.0))
        for _ in range(plan.runs):
            for name, rate in _round(kafka, stubs.stub_url, plan, pythons, say):
                rates.setdefault(name, []).append(rate)
    if "litellm" in pythons:
        _gateways(kafka, plan, pythons["litellm"], rates, skipped, say)
    content = told(rates, skipped, found)
    results.save("peers", {"plan": asdict(plan)}, content)
    return content


def told(rates: Mapping[str, Sequence[float]], skipped: Mapping[str, str], ceiling: float) -> dict[str, Any]:
    """What is printed as JSON: `ratios` ours over each peer's, `rates`, and why a peer is missing."""
    medians = {name: median(found) for name, found in rates.items()}
    ours, gateway = medians.get("relayfleet", 0.0), medians.get("relayfleet gateway", 0.0)
    topic = ratios(ours, {name: medians.get(name) for name in PROGRAMS})
    path = ratios(gateway, {"litellm": medians.get("litellm")}) if gateway else {"litellm": None}
    return {
        "ratios": {**topic, **path},
        "rates": {name: round(rate, 1) for name, rate in medians.items()},
        "spread": {name: asdict(spread(found)) for name, found in rates.items()},
        "skipped": dict(skipped),
        "features": {name: dict(features) for name, features in FEATURES.items()},
        "backend_ceiling": ceiling,
    }


def _install(plan: Plan, say: Say) -> tuple[dict[str, Path], dict[str, str]]:
    pythons, skipped = {}, {}
    began = time.monotonic()
    for name in plan.names:
        say(f"environment of {name}")
        try:
            pythons[name] = python_of(name, Settings.read())
        except NotInstalledError as error:
            skipped[name] = str(error)
            say(f"left out: {error}")
    say(f"environments: {time.monotonic() - began:.0f} s")
    return pythons, skipped


def _round(
    kafka: Broker, stub: str, plan: Plan, pythons: Mapping[str, Path], say: Say
) -> Iterator[tuple[str, float]]:
    """Everybody once."""
    runners: dict[str, Callable[[], float | None]] = {"relayfleet": lambda: _ours(kafka, plan)}
    for name in pythons:
        if name in PROGRAMS:
            runners[name] = partial(_theirs, kafka, stub, plan, name, pythons[name])
    for name, runner in runners.items():
        rate = runner()
        if rate is not None:
            say(f"{name}: {rate:,.0f} messages/s")
            yield name, rate
        else:
            say(f"{name}: no rate; it answered too little")


def _ours(kafka: Broker, plan: Plan) -> float | None:
    """One worker process with everything on."""
    with fleet(kafka, Shape(routers=0, workers=0)) as made:
        fill(kafka.bootstrap, f"{made.requests}.llm", plan.messages)
        made.add("worker")
        rate = worked_off(kafka.bootstrap, made.responses, plan.messages, plan.seconds, lambda: True)
    return rate.per_second if rate else None


def _theirs(kafka: Broker, stub: str, plan: Plan, name: str, python: Path) -> float | None:
    """One process of a peer."""
    topic = f"bench-{uuid.uuid4().hex[:10]}"
    count = int(plan.messages * _SLOW.get(name, 1.0))
    create(kafka.bootstrap, [f"{topic}.llm", f"{topic}.responses"])
    fill(kafka.bootstrap, f"{topic}.llm", count)
    command = (str(python), str(_HERE / PROGRAMS[name]), kafka.bootstrap, stub, topic)
    with _running(command) as process:
        alive = lambda: process.poll() is None  # noqa: E731 - a word for what is asked
        rate = worked_off(kafka.bootstrap, f"{topic}.responses", count, plan.seconds, alive)
    return rate.per_second if rate else None


@contextmanager
def _running(command: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A peer's process, with whatever it starts itself. Where the block fails, its last words are told."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+b") as log:
        environment = {**Settings.read().environment, **_OFFLINE}
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        try:
            yield process
        except NotInstalledError as error:
            log.seek(0)
            last = log.read().decode(errors="replace").strip().splitlines()[-1:]
            raise NotInstalledError(f"{error}: {' '.join(last)}") from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _gateways(
    kafka: Broker,
    plan: Plan,
    python: Path,
    rates: dict[str, list[float]],
    skipped: dict[str, str],
    say: Say,
) -> None:
    """Requests a second that the LiteLLM proxy and our gateway answer to the same users."""
    if not plan.gateway:
        skipped["litellm"] = "the gateway is switched off (--no-gateway), so there is nothing to compare with"
        return
    with fleet(kafka, Shape(gateways=1)) as made:
        ours = Spec(f"{made.gateway_url}/api/forward", FORWARD, 0.0, plan.seconds, "")
        rates["relayfleet gateway"] = _asked(ours, made.pids(), plan, say, "our gateway")
        try:
            rates["litellm"] = _litellm_asked(python, made, plan, say)
        except NotInstalledError as error:
            skipped["litellm"] = str(error)
            say(f"left out: {error}")


def _litellm_asked(python: Path, made: Fleet, plan: Plan, say: Say) -> list[float]:
    body = '{"model": "stub", "messages": [{"role": "user", "content": "测试消息"}]}'
    with tempfile.TemporaryDirectory() as folder, _litellm(python, made, Path(folder)) as (spec, process):
        pids = {"litellm": process.pid, "stub": made.parts["stub"].pid}
        return _asked(replace(spec, body=body), pids, plan, say, "LiteLLM")


def _asked(spec: Spec, pids: Mapping[str, int], plan: Plan, say: Say, who: str) -> list[float]:
    spec = replace(spec, seconds=max(plan.seconds, _LEAST), users=plan.users)
    call(replace(spec, seconds=2.0), pids)
    found = []
    for _ in range(plan.runs):
        calls = call(spec, pids, 1.0)
        found.append(calls.answered(1.0))
        say(f"{who}, {plan.users} at once: {found[-1]:,.0f} requests/s, {calls.errors} errors")
    return found


@contextmanager
def _litellm(python: Path, made: Fleet, folder: Path) -> Iterator[tuple[Spec, "subprocess.Popen[bytes]"]]:
    """The proxy with one model, as its documentation configures an OpenAI-compatible endpoint."""
    port = Ports().take(14_000)
    parameters = {"model": "openai/stub", "api_base": f"{made.stub_url}/v1", "api_key": "none"}
    key = f"sk-{secrets.token_hex(16)}"  # it does not start without one
    models = [{"model_name": "stub", "litellm_params": parameters}]
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"model_list": models, "general_settings": {"master_key": key}}))
    where = ("--host", "127.0.0.1", "--port", str(port))
    command = (str(python.with_name("litellm")), "--config", str(config), *where)
    with _running(command) as process:
        until = time.monotonic() + _STARTS_WITHIN
        while answers(f"http://127.0.0.1:{port}/health/liveliness") is None:
            if process.poll() is not None or time.monotonic() > until:
                raise NotInstalledError("the LiteLLM proxy does not start")
            time.sleep(0.2)
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        yield Spec(url, "", 0.0, 0.0, "", headers={"authorization": f"Bearer {key}"}), process
