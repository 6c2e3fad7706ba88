"""Looking at payloads is a deed: it goes on record before anything is shown."""

from dlq_tools.ledger import Ledger, operator
from dlq_tools.session import Session
from workers import assembly


async def record_look(session: Session, what: str, count: int) -> None:
    """Write to the ledger that the operator sees the payloads of `count` letters; `what` is a sentence.

    Raises `UsageError` where there is no ledger: what can't be put on record is not shown.
    """
    await on_record(session, "look", what, count)


async def on_record(session: Session, action: str, what: str, count: int) -> None:
    """Write a deed to the ledger. Raises `UsageError` where its topic is missing."""
    topic = session.names.ledger
    await assembly.require_topics(session.admin, [topic])
    topology, settings, kafka = session.topology, session.settings, session.kafka
    async with (
        assembly.open_publisher(topology, settings, kafka) as publisher,
        assembly.open_reader(topology, settings, kafka, [topic]) as reader,
    ):
        ledger = Ledger(topic, publisher, reader, session.clock, operator(settings))
        await ledger.audit(action, what, count=count)
