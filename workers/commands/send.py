"""`relayfleet send`: produce envelopes, and wait for their outcomes where asked."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from schemas.codec import decode_response
from schemas.errors import DecodeError
from schemas.response import Response
from workers import assembly
from workers.commands.envelopes import Envelope, from_lines, from_text
from workers.commands.outcomes import OutcomeTable
from workers.core.clock import SystemClock
from workers.core.deadlines import Deadline
from workers.core.errors import UsageError
from workers.core.exit_codes import ExitCode
from workers.core.logging import configure_logging
from workers.core.ports import Publisher, Reader
from workers.core.settings import Settings
from workers.core.topology.names import Names
from workers.shell import (
    KafkaOption,
    Output,
    OutputOption,
    TopologyOption,
    console,
    load,
    print_json,
    run,
)

_BATCH = 500


def send(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE|-]", help="JSON lines, one envelope a line; `-` is standard input."),
    ] = None,
    text: Annotated[str | None, typer.Option(help="Send this text in an envelope of its own.")] = None,
    source: Annotated[str, typer.Option(help="The source of envelopes that name none.")] = "cli",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the outcomes and print them.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for outcomes.")] = 120.0,
    raw: Annotated[bool, typer.Option("--raw", help="Send every line as it is, valid or not.")] = False,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Produce envelopes to the requests topic.

    Exits 0 when everything was sent (with --wait: answered), 1 when an outcome is an error or missing, 2 for bad
    input, 4 when Kafka can't be reached.
    """
    configure_logging("send", level="warning")

    async def main() -> ExitCode:
        settings = Settings.read()
        loaded = load(topology, settings)
        names = Names(loaded)
        envelopes = _envelopes(file, text, source, names.requests, raw=raw)
        first = list(islice(envelopes, 1))  # bad input is told before anything is opened
        async with AsyncExitStack() as stack:
            reader = None
            admin = await stack.enter_async_context(assembly.open_admin(loaded, settings, kafka))
            await admin.cluster()  # a publisher waits for a broker that is away; people should not
            if wait:
                reader = await stack.enter_async_context(
                    assembly.open_reader(loaded, settings, kafka, [names.responses])
                )
            publisher = await stack.enter_async_context(assembly.open_publisher(loaded, settings, kafka))
            sent = await _produce(publisher, chain(first, envelopes))
            if reader is None:
                _say_sent(sent, output)
                return ExitCode.DONE
            return await _follow(reader, sent, timeout, output)

    run(main)


async def _follow(reader: Reader, sent: list[str | None], patience: float, output: Output) -> ExitCode:
    """Print the outcomes of what was sent; one whose id is not known can't be told from others."""
    unknown = sent.count(None)
    code = await _outcomes(reader, {message_id for message_id in sent if message_id}, patience, output)
    _say_unknown(unknown, output)
    return ExitCode.FAILED if unknown else code


def _envelopes(
    file: str | None, text: str | None, source: str, topic: str, *, raw: bool
) -> Iterator[Envelope]:
    clock = SystemClock()
    if (file is None) == (text is None):
        raise UsageError("give a FILE (or - for standard input) or --text, one of them")
    if text is not None:
        return iter([from_text(text, source, topic, clock)])
    path = None if file in {None, "-"} else Path(str(file))
    if path is not None and not raw:
        for _ in from_lines(path, source, topic, clock, raw=False):
            pass  # a file is checked whole before its first line is sent
    return from_lines(path, source, topic, clock, raw=raw)


async def _produce(publisher: Publisher, envelopes: Iterator[Envelope]) -> list[str | None]:
    sent: list[str | None] = []
    while batch := list(islice(envelopes, _BATCH)):
        await publisher.deliver([envelope.record for envelope in batch])
        sent += [envelope.message_id for envelope in batch]
    return sent


def _say_sent(sent: list[str | None], output: Output) -> None:
    if output is Output.JSON:
        print_json({"sent": len(sent), "message_ids": sent})
    elif len(sent) == 1:
        console().print(f"sent {sent[0] or 'one raw line'}")
    else:
        console().print(f"sent {len(sent):,} messages")


def _say_unknown(lines: int, output: Output) -> None:
    if lines and output is Output.JSON:
        print_json({"message_id": None, "status": "unknown", "lines": lines})
    elif lines:
        lines_text = "1 line has" if lines == 1 else f"{lines} lines have"
        console().print(
            f"[yellow]{lines_text} no message_id to wait for: see `relayfleet tail dead-letters`[/]"
        )


async def _outcomes(reader: Reader, waiting: set[str], patience: float, output: Output) -> ExitCode:
    table = OutcomeTable(output)
    failed = False
    deadline = Deadline.after(patience)
    with _progress(len(waiting), output) as progress:
        task = progress.task_ids[0]
        while waiting and not deadline.expired:
            for record in await reader.read(min(0.2, deadline.remaining())):
                response = _response(record.value, record.headers)
                if response is not None and response.message_id in waiting:
                    waiting.discard(response.message_id)
                    failed |= response.status != "ok"
                    table.add(response)
                    progress.advance(task)
    table.print()
    for message_id in sorted(waiting):
        table.missing(message_id, patience)
    return ExitCode.FAILED if failed or waiting else ExitCode.DONE


def _response(value: bytes | None, headers: tuple[tuple[str, bytes | None], ...]) -> Response | None:
    try:
        return decode_response(value, headers)
    except DecodeError:
        return None  # somebody else's record on the topic is not our outcome


def _progress(total: int, output: Output) -> Progress:
    progress = Progress(
        SpinnerColumn(),
        TextColumn("waiting for outcomes {task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=console(),
        transient=True,
        disable=output is Output.JSON or not console().is_terminal,
    )
    progress.add_task("outcomes", total=total)
    return progress
