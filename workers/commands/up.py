"""`relayfleet up`: the whole fleet on this machine."""

import asyncio
import os
import secrets
import shlex
import shutil
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from workers import assembly
from workers.commands.up_demo import Demo, Summary
from workers.commands.up_examples import Outcome, Tracker, read_examples
from workers.commands.up_fleet import Choices, Fleet, Plan, needs_model, plan
from workers.commands.up_view import View, open_view
from workers.core.clock import SystemClock
from workers.core.deadlines import Deadline
from workers.core.exit_codes import ExitCode
from workers.core.logging import configure_logging
from workers.core.settings import Settings
from workers.core.topology.difference import apply, difference
from workers.core.topology.names import Names
from workers.core.topology.topics import wanted_topics
from workers.local.fleet_lock import fleet_lock
from workers.local.kafka_part import still_starting
from workers.local.supervisor import Change, State, Supervisor
from workers.shell import KafkaOption, TopologyOption, console, run

_STOP_WITHIN = 40.0  # seconds; router and worker drain for up to 25 of them


def up(
    no_model: Annotated[
        bool,
        typer.Option("--no-model", help="A stub answers instead of the model: no 100 MB, no second of CPU."),
    ] = False,
    kafka: KafkaOption = None,
    topology: TopologyOption = None,
    demo: Annotated[
        bool, typer.Option("--demo/--no-demo", help="Send the examples and show their outcomes.")
    ] = True,
    exit_after_demo: Annotated[
        bool,
        typer.Option(
            "--exit-after-demo", help="Stop when the examples are done; exit 1 if an outcome is missing."
        ),
    ] = False,
) -> None:
    """Run the whole fleet on this machine: Kafka, Redis, a model, router, worker and gateway; send examples; stay up.

    Ctrl-C stops everything, a second one at once. OPENAI_BASE_URL and OPENAI_API_KEY replace the local model by yours.
    """
    configure_logging("up", level="warning")
    settings = Settings.read()
    choices = Choices(topology or settings.topology, kafka, stub=no_model)

    async def main() -> ExitCode:
        with fleet_lock(settings.home):
            session = Session(plan(choices, settings), settings, open_view(console()))
            return await session.run(demo=demo or exit_after_demo, stay=not exit_after_demo)

    run(main)


class Session:
    """One `up`, from the first part to the farewell."""

    def __init__(self, made: Plan, settings: Settings, view: View) -> None:
        self._plan = made
        self._settings = settings
        self._view = view
        self._clock = SystemClock()
        self._began = self._clock.monotonic()
        self._supervisor = Supervisor(self._changed)
        self._fleet = Fleet(made, self._supervisor, view, self._apply)
        self._stop = asyncio.Event()

    async def run(self, *, demo: bool, stay: bool) -> ExitCode:
        """Start, show, stay, stop. Raises what keeps the fleet from starting, after everything was stopped again."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)
        async with self._supervisor:
            living = asyncio.create_task(self._live(demo=demo, stay=stay))
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait((living, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            interrupted = not living.done()
            if interrupted:
                living.cancel()
                await asyncio.wait((living,))
            await self._farewell()
            if still_starting():
                os._exit(ExitCode.ABORTED)
            return ExitCode.DONE if interrupted else living.result()

    async def _live(self, *, demo: bool, stay: bool) -> ExitCode:
        for line in self._plan.moved:
            self._view.say(line)
        await self._fleet.start()
        self._view.say(f"The fleet is up after {self._clock.monotonic() - self._began:.1f} s.")
        code = ExitCode.DONE
        if demo:
            code = await self._demo()
        if not stay:
            return code
        self._what_next()
        raise await self._supervisor.failure()

    async def _demo(self) -> ExitCode:
        topology, bootstrap = self._plan.loaded, self._fleet.bootstrap
        names = Names(topology)
        file = self._plan.examples / "requests.jsonl"
        examples = read_examples(file, names.requests, secrets.token_hex(2), self._clock.wall())
        tracker = Tracker(examples, names)
        async with AsyncExitStack() as stack:
            reader = await stack.enter_async_context(
                assembly.open_reader(topology, self._settings, bootstrap, tracker.topics)
            )
            publisher = await stack.enter_async_context(
                assembly.open_publisher(topology, self._settings, bootstrap)
            )
            summary = await Demo(examples, tracker, self._view, self._clock).run(publisher, reader)
        self._summarise(summary)
        return ExitCode.DONE if summary.complete else ExitCode.FAILED

    async def _apply(self, bootstrap: str) -> None:
        """Bring the topics to what the topology says; nothing is deleted."""
        topology = self._plan.loaded
        async with assembly.open_admin(topology, self._settings, bootstrap) as admin:
            wanted = wanted_topics(topology)
            found = difference(wanted, await admin.topics())
            await apply(found.actions, admin)
        for refusal in found.refusals:
            self._view.say(str(refusal))

    def _summarise(self, summary: Summary) -> None:
        counts = (
            (summary.count(Outcome.ANSWERED), "answered", "answered"),
            (summary.count(Outcome.ERROR), "error", "errors"),
            (summary.count(Outcome.DEAD_LETTER), "dead letter", "dead letters"),
            (summary.count(None), "without an outcome", "without an outcome"),
        )
        shown = ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)
        self._view.say(f"{len(summary.examples)} examples in {summary.seconds:.1f} s: {shown}.")
        if summary.first is not None:
            self._view.say(
                f"The first answer of a model came {summary.first - self._began:.1f} s after the start."
            )

    def _what_next(self) -> None:
        program, kafka, topology = invocation(self._plan, self._settings)
        self._view.say(f"\nThe fleet stays up: Kafka at {self._fleet.bootstrap}. In another terminal:")
        for arguments in (
            f'send --text "How do I reset my router?" --wait{kafka}',
            f"tail responses --follow{kafka}",
            f"tail dead-letters{kafka}",
            'route explain --text "我的订单 2026110301 到哪了？"',
        ):
            self._view.say(f"  {program} {arguments}{topology}")
        gateway = f"http://{self._fleet.where('gateway')}"
        self._view.say(f"  {ask_with_curl(gateway)}")
        self._view.say(f"Ask in a browser: {gateway}")
        self._view.say(f"OpenAI programs: base URL {gateway}/v1. gRPC: {self._fleet.where('gateway gRPC')}.")
        self._view.say(f"Metrics: {', '.join(self._fleet.metrics)}")
        if needs_model(self._plan) and not self._plan.choices.stub:
            self._view.say(
                "The model has 135 million parameters and learnt English: it shows the way, not how well models answer."
                " OPENAI_BASE_URL and OPENAI_API_KEY put yours in its place."
            )
        self._view.say(f"Logs are in {self._settings.home / 'logs'}. Ctrl-C stops everything.")

    def _changed(self, change: Change) -> None:
        self._view.change(change, self._fleet.where(change.name) if change.state is State.READY else "")

    def _signalled(self) -> None:
        if self._stop.is_set():
            self._supervisor.abort()
            self._view.end()
            self._view.say("Stopped at once; what was under way is done again at the next start.")
            os._exit(ExitCode.ABORTED)
        self._stop.set()

    async def _farewell(self) -> None:
        self._view.say("Stopping; Ctrl-C again stops at once.")
        clean = await self._supervisor.stop(Deadline.after(_STOP_WITHIN))
        self._view.say("All stopped. Until next time." if clean else "All stopped, some of it by force.")


def invocation(made: Plan, settings: Settings) -> tuple[str, str, str]:
    """What a shell in this directory calls us by, and the options that lead to this Kafka and this topology."""
    program = "relayfleet" if shutil.which("relayfleet") else str(_beside(Path(sys.executable)))
    if settings.home != Settings.read({}).home:
        program = f"RELAYFLEET_HOME={shlex.quote(str(settings.home))} {program}"
    kafka = f" --kafka {made.choices.kafka}" if made.choices.kafka else ""
    other = made.choices.topology != Settings.read({}).topology
    topology = f" --topology {shlex.quote(str(made.choices.topology))}" if other else ""
    return program, kafka, topology


def ask_with_curl(gateway: str) -> str:
    """A question to a gateway, for a shell."""
    question = '{"text": "How do I reset my router?", "context": {}}'
    return f"curl {gateway}/api/forward -H 'Content-Type: application/json' -d '{question}'"


def _beside(python: Path) -> Path:
    script = python.with_name("relayfleet")
    return script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script
