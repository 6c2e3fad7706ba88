"""`relayfleet dlq`: looking at dead letters. What changes something is in `replay_cli`."""

from typing import Annotated

import typer

from dlq_tools import avro_files, files_cli, replay_cli, watch_cli
from dlq_tools.filling import fetch
from dlq_tools.group import groups
from dlq_tools.group_view import show_groups
from dlq_tools.listing import look
from dlq_tools.looks import record_look
from dlq_tools.options import RevealOption, SchemaOption, SinceOption, TopicOption, UntilOption, WhereOption
from dlq_tools.peek import latest
from dlq_tools.printing import Format, FormatOption, emit, emit_one
from dlq_tools.session import Asked, open_session
from dlq_tools.show import explain, parse_position
from dlq_tools.stats import counts, parse_dimensions
from workers.shell import KafkaOption, TopologyOption, run

app = typer.Typer(help="Dead letters: see, understand, mend and replay them.", no_args_is_help=True)


@app.command("list")
def list_(
    topics: Annotated[
        list[str] | None, typer.Argument(help="Topics; none: all that hold dead letters.")
    ] = None,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """The dead-letter topics: how deep, how old, how fast they grow. Times are those of the records."""

    async def main() -> None:
        async with open_session(topology, kafka) as session:
            own, ledger = session.names.dead_letters, await session.ledger()
            found = await look(session.admin, topics or [], own, session.now_ms, ledger)
            rows = [each.public(session.now_ms) for each in found]
        columns = ["topic", "depth", "new", "on_record", "oldest", "oldest_age", "newest", "rate_per_hour"]
        emit(output, "topics", rows, columns)

    run(main)


@app.command()
def stats(
    by: Annotated[
        str, typer.Option("--by", help="Count by these: class,target,source,fingerprint,hour,…")
    ] = "class",
    topic: TopicOption = None,
    where: WhereOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    schema: SchemaOption = None,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """How many dead letters there are, by what."""

    async def main() -> None:
        dimensions = parse_dimensions(by)
        async with open_session(topology, kafka) as session:
            chosen = await session.choose(Asked(topic, where, since, until, avro_files.load(schema or ())))
        rows = counts(chosen.index, dimensions, *chosen.choice)
        about = {"topic": chosen.index.topic, "total": sum(int(row["count"]) for row in rows)}
        emit(output, "rows", rows, [*dimensions, "count"], about)

    run(main)


@app.command()
def group(
    topic: TopicOption = None,
    where: WhereOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    schema: SchemaOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Groups at most.")] = 50,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Like errors together: how many, since when, an example, and what it probably is."""

    async def main() -> None:
        async with open_session(topology, kafka) as session:
            chosen = await session.choose(Asked(topic, where, since, until, avro_files.load(schema or ())))
        found = groups(chosen.index, *chosen.choice, limit=limit)
        if output is Format.TABLE:
            show_groups(found)
        else:
            rows = [each.public() for each in found]
            emit(output, "groups", rows, (), {"topic": chosen.index.topic})

    run(main)


@app.command()
def peek(
    number: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many, the latest first.")] = 10,
    topic: TopicOption = None,
    where: WhereOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    schema: SchemaOption = None,
    reveal: RevealOption = False,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """The latest dead letters, a line each."""

    async def main() -> None:
        async with open_session(topology, kafka) as session:
            chosen = await session.choose(Asked(topic, where, since, until, avro_files.load(schema or ())))
            rows = await latest(session, chosen, number, reveal=reveal)
        columns = ["position", "failed_at", "state", "class", "target", "message_id", "message"]
        emit(
            output, "letters", rows, [*columns, "value"] if reveal else columns, {"topic": chosen.index.topic}
        )

    run(main)


@app.command()
def show(
    position: Annotated[str, typer.Argument(metavar="TOPIC:PARTITION:OFFSET", help="As `peek` prints it.")],
    schema: SchemaOption = None,
    reveal: RevealOption = False,
    events: Annotated[
        bool, typer.Option("--history/--no-history", help="Look its steps up in the fleet's log.")
    ] = True,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """One dead letter in full: what failed, its headers, its value, the steps it took, where it came from."""

    async def main() -> None:
        (place, offset), schemas = parse_position(position), avro_files.load(schema or ())
        async with open_session(topology, kafka) as session:
            record = await fetch(session.admin, session.open_reader, place, offset)
            if reveal:
                await record_look(session, f"{position} shown", 1)
            found = await explain(session, record, schemas, reveal=reveal, events=events)
        emit_one(output, found)

    run(main)


for others in (files_cli.app, watch_cli.app, replay_cli.app):
    app.registered_commands += others.registered_commands
    app.registered_groups += others.registered_groups
