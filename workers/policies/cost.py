"""What a message costs: tokens counted by the backend, or estimated before anybody counted, times the target's price."""

import math
from dataclasses import dataclass
from decimal import Decimal

from schemas.envelope import Message, Request
from workers.core.topology.model import Target, Topology

USUAL_ANSWER = 256
"""Tokens that an answer is taken to have where the request sets no limit."""
_BYTES_A_WORD_TOKEN = 4
_BYTES_A_CHARACTER_TOKEN = 3
_TOKENS_A_TURN = 4  # what a chat template puts around each message


@dataclass(frozen=True, slots=True)
class Tariff:
    """What one token costs, exactly."""

    prompt: Decimal
    completion: Decimal
    currency: str

    def cost(self, prompt_tokens: int, completion_tokens: int) -> Decimal:
        """The money that so many tokens cost."""
        return prompt_tokens * self.prompt + completion_tokens * self.completion


def tariff_of(topology: Topology, target: str) -> Tariff | None:
    """What a target's tokens cost; None where the topology does not say so."""
    price = topology.targets[target].price
    if price is None:
        return None
    return Tariff(price.input / 1000, price.output / 1000, topology.currency)


def prompt_tokens(request: Request) -> int:
    """About how many tokens the prompt has, without a tokeniser: a quarter of what is written in ASCII, a third of the
    bytes of everything else (which makes a Chinese character about one). Context and parameters that a backend does
    not put into the prompt are not counted.
    """
    payload = request.payload
    tokens = text_tokens(payload.text) + _TOKENS_A_TURN if payload.text is not None else 0
    return tokens + sum(_message_tokens(message) for message in payload.messages or ())


def text_tokens(text: str) -> int:
    """About how many tokens a text has."""
    if text.isascii():
        return math.ceil(len(text) / _BYTES_A_WORD_TOKEN)
    data = text.encode("utf-8", "replace")
    plain = len(text.encode("ascii", "ignore"))
    return math.ceil(plain / _BYTES_A_WORD_TOKEN + (len(data) - plain) / _BYTES_A_CHARACTER_TOKEN)


def _message_tokens(message: Message) -> int:
    content = message.content
    if isinstance(content, str):
        return text_tokens(content) + _TOKENS_A_TURN
    texts = [part.get("text") for part in content or () if isinstance(part, dict)]
    return _TOKENS_A_TURN + sum(text_tokens(text) for text in texts if isinstance(text, str))


def answer_limit(request: Request, target: Target | None = None) -> int | None:
    """How many tokens the answer may have at most, where the request or the target's parameters say so."""
    defaults = getattr(target, "parameters", None) or {}
    for parameters in (request.payload.parameters, defaults):
        for name in ("max_completion_tokens", "max_tokens"):
            value = parameters.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def estimated_cost(tariff: Tariff, request: Request, target: Target | None = None) -> Decimal:
    """About what the message will cost; without a limit the answer is taken to be of the usual length."""
    limit = answer_limit(request, target)
    return tariff.cost(prompt_tokens(request), USUAL_ANSWER if limit is None else limit)
