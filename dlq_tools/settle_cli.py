"""`relayfleet dlq discard` and `relayfleet dlq purge`."""

import sys
from typing import Annotated

import typer

from dlq_tools.discard import discard as discard_letters
from dlq_tools.opening import open_surroundings
from dlq_tools.purge import Before, PurgePlan, before_offset, before_time, plan_purge
from dlq_tools.purge import purge as purge_letters
from dlq_tools.replay_options import (
    Chosen,
    LettersArgument,
    SinceOption,
    TopicsOption,
    UntilOption,
    WhereOption,
    YesOption,
)
from dlq_tools.selecting import IndexSelection
from dlq_tools.times import parse_time
from workers.core.clock import SystemClock
from workers.core.errors import UsageError
from workers.core.exit_codes import ExitCode
from workers.core.logging import configure_logging
from workers.core.settings import Settings
from workers.core.topology.names import Names
from workers.shell import KafkaOption, Output, OutputOption, TopologyOption, console, load, print_json, run

app = typer.Typer()


@app.command()
def discard(
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")],
    letters: LettersArgument = None,
    topic: TopicsOption = None,
    where: WhereOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    yes: YesOption = False,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Mark dead letters as not worth a replay. Nothing is deleted.

    More than one is only counted until --yes.
    """
    configure_logging("dlq", level="warning")
    chosen = Chosen(letters or (), topic or (), where, since, until)

    async def main() -> ExitCode:
        settings = Settings.read()
        loaded = load(topology, settings)
        spec = chosen.spec(Names(loaded).dead_letters, SystemClock())
        async with open_surroundings(loaded, settings, kafka) as around:
            selection = IndexSelection(around, settings.home)
            found, done = await discard_letters(around, selection, spec, reason, send=yes or None)
        left_out = {state.value: count for state, count in found.left_out.items()}
        if output is Output.JSON:
            print_json(
                {"selected": found.selected, "discarded": found.selected if done else 0, "left_out": left_out}
            )
            return ExitCode.DONE
        ending = "discarded" if done else "selected; nothing was changed, --yes discards"
        console().print(f"{found.selected:,} dead letters {ending}", highlight=False)
        for state, count in left_out.items():
            console().print(f"  {count:,} are left as they are: {state.replace('_', ' ')}", highlight=False)
        return ExitCode.DONE

    run(main)


@app.command()
def purge(
    topic: Annotated[str, typer.Argument(help="The dead-letter topic.")],
    before: Annotated[
        str, typer.Option("--before", metavar="OFFSET|TIME", help="What lies before: 1200, 7d, 2026-01-31.")
    ],
    partition: Annotated[
        int | None, typer.Option("--partition", min=0, help="In this partition alone.")
    ] = None,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", metavar="TOPIC", help="The topic's name again, instead of typing it."),
    ] = None,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete the records of settled dead letters, for good.

    Refused while a letter among them is neither answered, discarded nor parked. Asks for the topic's name.
    """
    configure_logging("dlq", level="warning")

    async def main() -> ExitCode:
        settings = Settings.read()
        loaded = load(topology, settings)
        condition = _before(before, partition)
        async with open_surroundings(loaded, settings, kafka) as around:
            plan = await plan_purge(around, topic, condition)
            _require_settled(topic, plan)
            _say_loss(topic, plan, output)
            if plan.records:
                _require_consent(topic, confirm)
                await purge_letters(around, topic, plan)
        if output is Output.JSON:
            print_json({"topic": topic, "deleted": plan.records, "states": _states(plan)})
        else:
            console().print(f"{plan.records:,} records of {topic} deleted", highlight=False)
        return ExitCode.DONE

    run(main)


def _before(text: str, partition: int | None) -> Before:
    if text.isdecimal():
        return before_offset(int(text), partition)
    now = round(SystemClock().wall() * 1000)
    return before_time(parse_time(text, now, "--before"), partition)


def _say_loss(topic: str, plan: PurgePlan, output: Output) -> None:
    if output is Output.JSON or not plan.records:
        return
    out = console()
    out.print(f"[bold]{plan.records:,} records of {topic} will be lost for good:[/]", highlight=False)
    for state, count in _states(plan).items():
        out.print(f"  {count:,} {state.replace('_', ' ')}", highlight=False)
    for place, offset in sorted(plan.offsets.items()):
        out.print(f"  partition {place.partition}: everything below offset {offset}", highlight=False)


def _require_settled(topic: str, plan: PurgePlan) -> None:
    if plan.unsettled:
        count, first = plan.unsettled.total(), ", ".join(plan.named)
        raise UsageError(
            f"{count:,} of these records of {topic} are not settled: {first}"
            f"{', …' if count > len(plan.named) else ''}; replay or discard them first. Nothing was deleted"
        )


def _require_consent(topic: str, confirm: str | None) -> None:
    if confirm is None and sys.stdin.isatty():
        confirm = typer.prompt("Type the topic's name to delete them")
    if confirm != topic:
        said = "the topic's name was not given" if confirm is None else f"{confirm!r} is not the topic's name"
        raise UsageError(f"{said}: nothing was deleted; --confirm {topic} deletes")


def _states(plan: PurgePlan) -> dict[str, int]:
    return {state.value: count for state, count in plan.states.most_common()}
