"""`relayfleet`: the commands, put together."""

import typer

from dlq_tools import cli as dlq
from workers.commands import broker, doctor, route, router, send, tail, topology, up, worker

app = typer.Typer(
    name="relayfleet",
    help="Moves messages between the systems that ask and the models that answer, over Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command(rich_help_panel="Run")(up.up)
app.command(rich_help_panel="Run")(router.router)
app.command(rich_help_panel="Run")(worker.worker)
app.add_typer(broker.app, name="broker", rich_help_panel="Run")
app.command(rich_help_panel="Use")(send.send)
app.command(rich_help_panel="Use")(tail.tail)
app.add_typer(route.app, name="route", rich_help_panel="Look")
app.add_typer(dlq.app, name="dlq", rich_help_panel="Look")
app.add_typer(topology.app, name="topology", rich_help_panel="Look")
app.command(rich_help_panel="Look")(doctor.doctor)
