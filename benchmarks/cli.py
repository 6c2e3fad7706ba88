"""`relayfleet bench`: the benchmarks as commands."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from benchmarks.brokers import Broker, broker
from benchmarks.machine import used_by_others
from benchmarks.store import Results, new_directory, plain
from workers.core.errors import RelayError, UsageError
from workers.core.exit_codes import ExitCode
from workers.core.logging import configure_logging
from workers.core.settings import Settings
from workers.shell import Output, OutputOption, fail, print_json

app = typer.Typer(
    help="Benchmarks: latency and rate, users, endurance, recovery, other libraries beside it; and their report.",
    no_args_is_help=True,
)

KafkaOption = Annotated[
    str | None,
    typer.Option("--kafka", metavar="HOST:PORT", help="Use this Kafka.", show_default="a broker of its own"),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Where results go.", show_default=".relayfleet/bench/<time>")
]
SeedOption = Annotated[int, typer.Option("--seed", help="The same seed sends at the same times.")]
ShortOption = Annotated[bool, typer.Option("--short", help="A minute instead of many; less sure.")]
RunsOption = Annotated[
    int | None,
    typer.Option("--runs", min=1, help="How often it is repeated.", show_default="5, with --short 1"),
]
GatewayOption = Annotated[
    bool, typer.Option("--gateway/--no-gateway", help="Also measure through the HTTP gateway.")
]

Say = Callable[[str], None]
Section = Callable[[Broker, Results, Say], Mapping[str, Any]]


def section(
    measure: Section, kafka: str | None, out: Path | None, output: Output, *, warm: bool = True
) -> NoReturn:
    """Run a section on a broker, print what it found, and leave with its exit code: 1 where a message was lost."""
    configure_logging("bench", level="warning")
    say = speaker(output)
    results = Results.create(out or new_directory(Settings.read().home), used_by_others())
    try:
        with broker(kafka, say if warm else None) as started:
            found = measure(started, results, say)
    except RelayError as error:
        fail(error)
    if output is Output.JSON:
        print_json(plain(found))
    say(f"results: {results.directory}; `relayfleet bench report {results.directory}` draws them")
    raise typer.Exit(ExitCode.FAILED if found.get("lost") else ExitCode.DONE)


def _runs(*, short: bool) -> int:
    return 1 if short else 5


def speaker(output: Output) -> Say:
    """Where progress goes: beside a JSON object, to standard error."""
    console = Console(stderr=output is Output.JSON, soft_wrap=True, highlight=False)
    return lambda line: console.print(line, markup=False)


@app.command()
def run(
    rate: Annotated[float, typer.Option(min=1, help="Messages a second of the steady load.")] = 1000.0,
    seconds: Annotated[float, typer.Option(min=1, help="How long each steady run lasts.")] = 30.0,
    runs: RunsOption = None,
    burst: Annotated[
        int, typer.Option(min=100, help="Messages sent at once, for the highest rate.")
    ] = 100_000,
    sweep: Annotated[bool, typer.Option(help="Raise the rate until it is too much.")] = True,
    arrivals: Annotated[str, typer.Option(help="uniform or poisson.")] = "uniform",
    delay_ms: Annotated[float, typer.Option(min=0, help="Milliseconds that the backend takes.")] = 0.0,
    text_bytes: Annotated[int, typer.Option(min=0, help="Pad the texts to so many bytes.")] = 0,
    gateway: GatewayOption = True,
    seed: SeedOption = 1,
    short: ShortOption = False,
    kafka: KafkaOption = None,
    out: OutOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Latency, rate and cost of a message, open loop: one at a time, steady, at once, and at rising rates."""
    from benchmarks.sections import run as running

    plan = running.Plan(
        rate=rate,
        seconds=min(seconds, 8.0) if short else seconds,
        runs=runs or _runs(short=short),
        burst=min(burst, 40_000) if short else burst,
        rates=(running.SHORT_RATES if short else running.RATES) if sweep else (),
        sweep_seconds=3.0 if short else 10.0,
        baseline_seconds=5.0 if short else 10.0,
        warmup=2.0 if short else 5.0,
        arrivals=arrivals,
        seed=seed,
        text_bytes=text_bytes,
        delay_ms=delay_ms,
        gateway=gateway,
    )
    section(lambda started, results, say: running.run(started, plan, results, say), kafka, out, output)


@app.command()
def recover(
    kill: Annotated[
        list[str] | None,
        typer.Option(help="What to kill, repeatable: worker, router, gateway, broker, redis, backend."),
    ] = None,
    rate: Annotated[float, typer.Option(min=1, help="Messages a second meanwhile.")] = 500.0,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes, one of which is killed.")] = 1,
    named: Annotated[
        bool,
        typer.Option(help="Workers have names that stay over restarts (--member), as operators should do."),
    ] = True,
    seconds: Annotated[float, typer.Option(min=1, help="How long the load goes on after the kill.")] = 20.0,
    seed: SeedOption = 1,
    runs: RunsOption = None,
    short: ShortOption = False,
    kafka: KafkaOption = None,
    out: OutOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Kill each kind of process under load: time to the first and to full recovery, lost, duplicates, paid twice."""
    from benchmarks.sections import recover as recovery

    plan = recovery.Plan(
        faults=tuple(kill) if kill else recovery.FAULTS,
        rate=min(rate, 300.0) if short else rate,
        warmup=2.0 if short else 4.0,
        before=2.0 if short else 6.0,
        after=min(seconds, 6.0) if short else seconds,
        workers=workers,
        named=named,
        seed=seed,
        runs=runs or _runs(short=short),
    )
    # A broker that is killed starts cold in the middle of it anyway.
    section(
        lambda started, results, say: recovery.recover(started, plan, results, say),
        kafka,
        out,
        output,
        warm=False,
    )


@app.command()
def peers(
    peer: Annotated[
        list[str] | None,
        typer.Option(help="Whom to measure, repeatable: faststream, quix, faust, bare, litellm."),
    ] = None,
    runs: RunsOption = None,
    seconds: Annotated[float, typer.Option(min=1, help="For how long each time.")] = 6.0,
    gateway: GatewayOption = True,
    short: ShortOption = False,
    kafka: KafkaOption = None,
    out: OutOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """The same work done by FastStream, Quix Streams, Faust, a bare loop and LiteLLM, on the same broker and backend."""
    from benchmarks.sections import peers as others

    plan = others.Plan(
        names=tuple(peer) if peer else others.NAMES,
        runs=runs or _runs(short=short),
        seconds=min(seconds, 3.0) if short else seconds,
        messages=60_000 if short else 120_000,
        gateway=gateway,
    )
    section(lambda started, results, say: others.peers(started, plan, results, say), kafka, out, output)


@app.command()
def soak(
    users: Annotated[int, typer.Option(min=1, help="How many users.")] = 500,
    pace: Annotated[float, typer.Option(min=0.01, help="Seconds between two messages of a user.")] = 1.0,
    seconds: Annotated[float, typer.Option(min=1, help="How long in all.", show_default="24 h")] = 86_400.0,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between samples.")] = 10.0,
    warmup: Annotated[float, typer.Option(min=0, help="Seconds that no slope is taken of.")] = 600.0,
    gateway: GatewayOption = True,
    seed: SeedOption = 1,
    short: ShortOption = False,
    kafka: KafkaOption = None,
    out: OutOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """A steady load for hours: memory, CPU, file descriptors and lag, their slopes, and whether anything leaks.

    With --out of an earlier soak it goes on where that one ended, however it ended.
    """
    from benchmarks.sections import soak as endurance

    plan = endurance.Plan(
        users=users,
        pace=pace,
        seconds=min(seconds, 60.0) if short else seconds,
        every=min(every, 1.0) if short else every,
        warmup=min(warmup, 10.0) if short else warmup,
        gateway=gateway,
        seed=seed,
    )
    section(lambda started, results, say: endurance.soak(started, plan, results, say), kafka, out, output)


@app.command()
def ramp(
    users: Annotated[
        str, typer.Option(help="Users of each step, with commas.", show_default="100 to 1,000")
    ] = "",
    hold: Annotated[float, typer.Option(min=2, help="Seconds of each step.")] = 15.0,
    pace: Annotated[float, typer.Option(min=0, help="Seconds between a user's messages; 0: none.")] = 1.0,
    delay_ms: Annotated[float, typer.Option(min=0, help="Milliseconds that the backend takes.")] = 200.0,
    kind: Annotated[
        list[str] | None, typer.Option(help="Users of benchmarks/locustfile.py, repeatable: ForwardUser, …")
    ] = None,
    short: ShortOption = False,
    kafka: KafkaOption = None,
    out: OutOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """More and more users (Locust): where latency bends, where errors start, and what the bottleneck was."""
    from benchmarks.sections import ramp as ramping

    steps = tuple(int(text) for text in users.split(",")) if users else ramping.STEPS
    plan = ramping.Plan(
        steps=(100, 250, 500, 1000) if short and not users else steps,
        hold=min(hold, 5.0) if short else hold,
        settle=2.0 if short else 3.0,
        pace=pace,
        delay_ms=delay_ms,
        users=tuple(kind) if kind else ramping.Plan().users[: 1 if short else None],
    )
    section(lambda started, results, say: ramping.ramp(started, plan, results, say), kafka, out, output)


@app.command(hidden=True)
def part(
    name: Annotated[str, typer.Argument(help="scaling, parts or gateway: what `make bench` also measures.")],
    runs: RunsOption = None,
    short: ShortOption = False,
    kafka: KafkaOption = None,
    out: OutOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """The sections that have no command of their own."""
    from benchmarks.sections import gateway as front
    from benchmarks.sections import parts as single
    from benchmarks.sections import scaling as scales

    times = runs or _runs(short=short)
    scaled = scales.SHORT if short else scales.Plan()
    fronted = front.Plan(seconds=5.0) if short else front.Plan()
    known: dict[str, Section] = {
        "scaling": lambda on, results, say: scales.scaling(on, replace(scaled, runs=times), results, say),
        "parts": lambda on, results, say: single.parts(on, single.Plan(short, times), results, say),
        "gateway": lambda on, results, say: front.gateway(on, replace(fronted, runs=times), results, say),
    }
    if name not in known:
        fail(UsageError(f"there is no {name}: {', '.join(known)}"))
    section(known[name], kafka, out, output)


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(help="The directory of a run (its --out).")],
    compare: Annotated[
        Path | None, typer.Option(help="Another run: the differences, with their confidence.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option(help="Also put the tables into this Markdown file, between its marks.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Draw a run: one HTML file that needs nothing beside it, and Markdown."""
    from benchmarks.report import write as writing

    try:
        results = Results.existing(directory)
        other = Results.existing(compare) if compare is not None else None
        html, markdown = writing.write(results, other)
        if into is not None:
            writing.into(results, into)
    except RelayError as error:
        fail(error)
    if output is Output.JSON:
        print_json({"html": str(html), "markdown": str(markdown)})
    else:
        speaker(output)(f"{html}\n{markdown}")
