"""The ports: what the processes need from the world, and what they promise in return.

Modules on one level meet through these; `workers.assembly` puts real adapters behind them, tests put the fakes that
ship beside the adapters.
"""

from workers.core.ports.backends import (
    Answer,
    Backend,
    Call,
    Piece,
    PromptBackend,
    Sink,
    Told,
    Usage,
)
from workers.core.ports.kafka import (
    Admin,
    ClusterInfo,
    Listener,
    Publisher,
    Reader,
    Subscription,
    TopicState,
)
from workers.core.ports.stores import (
    AnswerCache,
    AnswerStore,
    Busy,
    CacheBounds,
    Claim,
    Claimed,
    Draw,
    Drawn,
    Kept,
    KeptTurn,
    LimitStore,
    OutcomeStore,
    Recorded,
    Recording,
    SessionBounds,
    SessionStore,
)

__all__ = [
    "Admin",
    "Answer",
    "AnswerCache",
    "AnswerStore",
    "Backend",
    "Busy",
    "CacheBounds",
    "Call",
    "Claim",
    "Claimed",
    "ClusterInfo",
    "Draw",
    "Drawn",
    "Kept",
    "KeptTurn",
    "LimitStore",
    "Listener",
    "OutcomeStore",
    "Piece",
    "PromptBackend",
    "Publisher",
    "Reader",
    "Recorded",
    "Recording",
    "SessionBounds",
    "SessionStore",
    "Sink",
    "Subscription",
    "Told",
    "TopicState",
    "Usage",
]
