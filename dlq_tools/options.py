"""Options that the `dlq` commands share."""

from typing import Annotated

import typer

TopicOption = Annotated[
    str | None,
    typer.Option("--topic", help="The topic to look at.", show_default="the topology's dead letters"),
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="SQL",
        help="Only letters for which this holds: class = 'timeout' and payload.text like '%x%'.",
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Failed at or after: 30m, 2h, 7d (ago), or ISO 8601."),
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Failed before.")]
SchemaOption = Annotated[
    list[str] | None,
    typer.Option(
        "--schema",
        metavar="[ID=]FILE.avsc|FOLDER",
        help="Read Avro values with this schema; in a folder those named ID.avsc are for that id of a registry.",
    ),
]
RevealOption = Annotated[
    bool, typer.Option("--show-payload", help="Show keys and values; goes on record in the ledger.")
]
