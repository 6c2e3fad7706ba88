"""The composition root: which adapter stands behind which port, one function a thing that is opened."""

from workers.assembly.board import fleet_standing, open_board, open_cluster
from workers.assembly.intents import learned_intents, open_classifier
from workers.assembly.kafka import EMBEDDED, located, open_admin, open_publisher, open_reader, require_topics
from workers.assembly.router import open_router
from workers.assembly.stores import open_outcomes, open_sessions, open_shared
from workers.assembly.worker import open_pair, open_worker

__all__ = [
    "EMBEDDED",
    "fleet_standing",
    "learned_intents",
    "located",
    "open_admin",
    "open_board",
    "open_classifier",
    "open_cluster",
    "open_outcomes",
    "open_pair",
    "open_publisher",
    "open_reader",
    "open_router",
    "open_sessions",
    "open_shared",
    "open_worker",
    "require_topics",
]
