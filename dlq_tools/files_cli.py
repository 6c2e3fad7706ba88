"""`relayfleet dlq export` and `import`."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dlq_tools import avro_files, files
from dlq_tools.filling import fetch_many
from dlq_tools.looks import on_record, record_look
from dlq_tools.options import RevealOption, SchemaOption, SinceOption, TopicOption, UntilOption, WhereOption
from dlq_tools.printing import Format, FormatOption, emit_one
from dlq_tools.session import Asked, Chosen, Session, open_session
from workers import assembly
from workers.core.errors import UsageError
from workers.core.records import Outgoing
from workers.shell import KafkaOption, TopologyOption, run

app = typer.Typer()

_BATCH = 500


@app.command("export")
def export(
    to: Annotated[Path, typer.Option("--to", help="FILE.ndjson or FILE.parquet.")],
    topic: TopicOption = None,
    where: WhereOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    schema: SchemaOption = None,
    reveal: RevealOption = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Write dead letters to a file. With --show-payload they are whole and can be imported again."""

    async def main() -> None:
        files.check_target(to, overwrite=overwrite)
        async with open_session(topology, kafka) as session:
            chosen = await session.choose(Asked(topic, where, since, until, avro_files.load(schema or ())))
            lines = await _whole(session, chosen, to) if reveal else _outlines(chosen)
            written = await files.write(to, lines)
        emit_one(output, {"file": str(to), "letters": written, "payloads": reveal})

    run(main)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A file that `dlq export --show-payload` wrote.")],
    to: Annotated[str, typer.Option("--to", metavar="TOPIC", help="The topic to write them to.")],
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Write them; without, the file is only checked.")
    ] = False,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Write exported dead letters to a topic, byte for byte. The whole file is checked before the first is sent."""

    async def main() -> None:
        letters = sum(1 for _ in files.read(file))
        async with open_session(topology, kafka) as session:
            if to not in await session.admin.topics([to]):
                raise UsageError(f"there is no topic {to!r} on this cluster: create it first")
            if yes:
                await on_record(session, "import", f"{letters} letters of {file.name} to {to}", letters)
                await _send(session, file, to)
        found: dict[str, Any] = {"file": str(file), "letters": letters, "topic": to, "written": yes}
        emit_one(output, found if yes else {**found, "next": "nothing was written; --yes writes them"})

    run(main)


async def _whole(session: Session, chosen: Chosen, to: Path) -> AsyncIterator[files.Line]:
    selection = chosen.selection()
    await record_look(
        session, f"{len(selection)} letters of {chosen.index.topic} exported to {to.name}", len(selection)
    )
    records = fetch_many(session.admin, session.open_reader, chosen.index.topic, selection.positions())
    return (files.whole(record) async for record in records)


async def _outlines(chosen: Chosen) -> AsyncIterator[files.Line]:
    for letter in chosen.selection():
        yield files.line(letter)


async def _send(session: Session, file: Path, topic: str) -> None:
    async with assembly.open_publisher(session.topology, session.settings, session.kafka) as publisher:
        batch: list[Outgoing] = []
        for record in files.read(file):
            batch.append(record._replace(topic=topic))
            if len(batch) >= _BATCH:
                await publisher.deliver(_taken(batch))
        await publisher.deliver(_taken(batch))


def _taken(batch: list[Outgoing]) -> Sequence[Outgoing]:
    taken = tuple(batch)
    batch.clear()
    return taken
