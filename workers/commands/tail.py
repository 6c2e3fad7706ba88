"""`relayfleet tail`: follow a topic, decoded."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.text import Text

from schemas.codec import decode_chunk, decode_event, decode_response
from schemas.dead_letter import read_dead_letter
from schemas.errors import DecodeError
from workers import assembly
from workers.commands.outcomes import response_cells
from workers.core.logging import configure_logging
from workers.core.ports import Reader
from workers.core.records import Received
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


class Followed(StrEnum):
    """What can be followed."""

    RESPONSES = "responses"
    LOGS = "logs"
    CHUNKS = "chunks"
    DEAD_LETTERS = "dead-letters"


def tail(
    what: Annotated[Followed, typer.Argument(help="Which topic.")],
    number: Annotated[int, typer.Option("-n", min=0, help="Show the last N records first.")] = 10,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", "-f", help="Go on as records come.")
    ] = False,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the last records of a topic, decoded, and follow it where asked.

    Texts of requests are never shown; answers are, on `responses` and `chunks`.
    """
    configure_logging("tail", level="warning")

    async def main() -> None:
        settings = Settings.read()
        loaded = load(topology, settings)
        names = Names(loaded)
        topic = {
            Followed.RESPONSES: names.responses,
            Followed.LOGS: names.logs,
            Followed.CHUNKS: names.chunks,
            Followed.DEAD_LETTERS: names.dead_letters,
        }[what]
        show = _shower(what, output)
        async with assembly.open_reader(loaded, settings, kafka, [topic], start_at=number) as reader:
            for record in (await _present(reader))[-number:] if number else []:
                show(record)
            while follow:
                for record in await reader.read(0.2):
                    show(record)

    run(main)


async def _present(reader: Reader) -> Sequence[Received]:
    """What was on the topic at the start, in the order of time over all partitions."""
    records: list[Received] = []
    while not reader.at_end:
        records += await reader.read(0.2)
    return sorted(records, key=lambda record: record.timestamp_ms)


def _shower(what: Followed, output: Output) -> Callable[[Received], None]:
    fields = {
        Followed.RESPONSES: _response,
        Followed.LOGS: _event,
        Followed.CHUNKS: _chunk,
        Followed.DEAD_LETTERS: _dead_letter,
    }[what]
    lines = {
        Followed.RESPONSES: _response_line,
        Followed.LOGS: _event_line,
        Followed.CHUNKS: _chunk_line,
        Followed.DEAD_LETTERS: _dead_letter_line,
    }[what]

    def show(record: Received) -> None:
        try:
            if output is Output.JSON:
                print_json({"position": record.position, **fields(record)})
            else:
                console().print(Text(_clock_time(record), style="dim"), lines(record))
        except DecodeError as error:
            console().print(Text(f"{record.position}: {error}", style="yellow"))

    return show


def _clock_time(record: Received) -> str:
    moment = datetime.fromtimestamp(record.timestamp_ms / 1000, tz=UTC).astimezone()
    return moment.strftime("%H:%M:%S.") + f"{record.timestamp_ms % 1000:03d}"


def _response(record: Received) -> dict[str, Any]:
    return decode_response(record.value, record.headers).model_dump_wire()


def _response_line(record: Received) -> Text:
    return Text("  ").join(response_cells(decode_response(record.value, record.headers)))


def _event(record: Received) -> dict[str, Any]:
    return decode_event(record.value, record.headers).model_dump_wire()


def _event_line(record: Received) -> Text:
    event = decode_event(record.value, record.headers)
    shown = event.model_dump(
        mode="json", exclude_none=True, exclude={"event", "message_id", "timestamp", "process"}
    )
    details = " ".join(f"{name}={value}" for name, value in shown.items())
    return Text.assemble(
        (f"{event.event:<13}", "bold"), f" {event.process:<7} {event.message_id or '-'}  ", (details, "dim")
    )


def _chunk(record: Received) -> dict[str, Any]:
    return decode_chunk(record.value, record.headers).model_dump_wire()


def _chunk_line(record: Received) -> Text:
    chunk = decode_chunk(record.value, record.headers)
    place = f"{chunk.message_id}  {chunk.attempt}.{chunk.index}"
    beside = [*chunk.delta, *filter(None, [chunk.finish_reason]), *(["final"] if chunk.final else [])]
    return Text.assemble((place, "bold"), f"  {chunk.text!r}  ", (" ".join(beside), "dim"))


def _dead_letter(record: Received) -> dict[str, Any]:
    return read_dead_letter(*record).model_dump(
        mode="json", exclude_none=True, exclude={"value", "key", "headers"}
    )


def _dead_letter_line(record: Received) -> Text:
    letter = read_dead_letter(*record)
    return Text.assemble(
        f"{record.position}  {letter.message_id or '-'}  ",
        (f"{letter.error_class or 'unknown'}", "bold red"),
        f" at {letter.stage or 'unknown stage'}: {letter.message or 'no reason given'}",
    )
