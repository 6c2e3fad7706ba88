"""`relayfleet`: the commands, put together."""

import typer

app = typer.Typer(
    name="relayfleet",
    help="Moves messages between the systems that ask and the models that answer, over Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
