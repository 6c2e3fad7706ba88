"""About how many tokens a replay takes, and about what they cost at the topology's prices."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from dlq_tools.plan import Planned
from schemas.codec import decode_request
from schemas.errors import DecodeError
from workers.core.topology.model import Topology
from workers.policies.cost import USUAL_ANSWER, answer_limit, prompt_tokens, tariff_of

HOW = (
    "prompts: a quarter of their ASCII characters, a third of all other bytes; "
    f"answers: max_tokens, else {USUAL_ANSWER} each; no tokeniser was asked"
)
"""How the numbers come about, said wherever they are."""


@dataclass
class Estimate:
    """Tokens and money of the messages that were added. `unread` are no envelopes, and cost nothing that we know of.

    `cost` is in the topology's currency; `unpriced` counts the messages that go to targets without a price, or to a
    topic whose consumer is not known, by target or topic.
    """

    topology: Topology
    prompt: int = 0
    answer: int = 0
    cost: Decimal | None = None
    unread: int = 0
    unpriced: Counter[str] = field(default_factory=Counter)

    def add(self, planned: Planned) -> None:
        """Count a message that would be sent."""
        record = planned.record
        try:
            request = decode_request(record.value, record.headers, received_ms=0).request
        except DecodeError:
            self.unread += 1
            return
        target = None if planned.target is None else self.topology.targets[planned.target]
        prompt, limit = prompt_tokens(request), answer_limit(request, target)
        answer = USUAL_ANSWER if limit is None else limit
        self.prompt += prompt
        self.answer += answer
        tariff = None if planned.target is None else tariff_of(self.topology, planned.target)
        if tariff is None:
            self.unpriced[planned.target or record.topic] += 1
        else:
            self.cost = (self.cost or Decimal(0)) + tariff.cost(prompt, answer)

    def lines(self) -> list[str]:
        """For people; nothing where there is nothing to tell."""
        if not self.prompt:
            return []
        told = f"about {self.prompt:,} tokens of prompts and {self.answer:,} of answers"
        if self.cost is not None:
            told += f": {self.topology.currency} {self.cost:,.2f}"
        left = [f"{count:,} for {name}, which has no price" for name, count in self.unpriced.most_common()]
        if self.cost is None or not left:
            return [told, f"  ({HOW})"]
        return [told, f"  without {', '.join(left)}", f"  ({HOW})"]

    def as_json(self) -> dict[str, Any]:
        """For machines. `cost` is None where nothing has a price."""
        return {
            "prompt_tokens": self.prompt,
            "answer_tokens": self.answer,
            "cost": None if self.cost is None else float(self.cost),
            "currency": self.topology.currency,
            "unpriced": dict(self.unpriced),
            "unread": self.unread,
            "how": HOW,
        }
