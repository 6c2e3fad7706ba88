"""How `route explain` prints a message's way: the rules with their reasons, shares by key, and the target's instances."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from schemas.fleet_state import InstanceState
from workers.core.board import Standing
from workers.policies.route import Decision, Explanation, Router
from workers.policies.share import Share, key_of
from workers.policies.subject import Asked
from workers.shell import console, print_json


@dataclass(frozen=True, slots=True)
class Way:
    """One message's way through the routes. `instances` None: nobody says how they stand."""

    asked: Asked
    decision: Decision | None
    rules: Sequence[Explanation]
    intent: dict[str, Any] | None
    shares: dict[str, Share]
    nowhere: str
    instances: Sequence[tuple[str, InstanceState]] | None

    @classmethod
    def of(cls, router: Router, asked: Asked, standing: Standing | None) -> "Way":
        """What the routes say of a message, and the fleet of the target."""
        decision, guess = router.decide(asked), router.guess(asked)
        if decision is not None and not decision.allowed:
            decision = None
        return cls(
            asked,
            decision,
            router.explain(asked),
            guess and {"name": guess.intent, "confidence": round(guess.confidence, 4)},
            router.of(asked).shares(decision) if decision is not None else {},
            router.why_nowhere(asked) if decision is None else "",
            _instances(standing, decision.target) if standing is not None and decision is not None else None,
        )

    def print_json(self) -> None:
        """For scripts."""
        decision, key = self.decision, key_of(self.asked)
        shares = {
            name: {"to": share.target, "percent": share.percent, "taken": share.takes(key)}
            for name, share in self.shares.items()
        }
        print_json(
            {
                "message_id": self.asked.request.message_id,
                "target": decision.target if decision else None,
                "rule": decision.rule if decision else None,
                "confidence": decision.confidence if decision else None,
                "intent": self.intent,
                "canary": shares.get("canary"),
                "shadow": shares.get("shadow"),
                "rules": [
                    {"rule": rule.rule, "target": rule.target, "matched": rule.matched, "why": rule.why}
                    for rule in self.rules
                ],
                "instances": None if self.instances is None else [_plain(*each) for each in self.instances],
            }
        )

    def print(self) -> None:
        """For people."""
        decision, intent = self.decision, self.intent
        where = f"{decision.target} (rule {decision.rule})" if decision else f"nowhere: {self.nowhere}"
        about = f"; intent {intent['name']}, confidence {intent['confidence']:.2f}" if intent else ""
        out = console()
        out.print(Text(f"{self.asked.request.message_id} goes to {where}{about}"), self._table())
        for line in (*self._share_lines(), *self._instance_lines()):
            out.print(Text(line))

    def _table(self) -> Table:
        table = Table("", "rule", "target", "matched", "why")
        for rule in self.rules:
            mark = "→" if self.decision is not None and rule.rule == self.decision.rule else ""
            table.add_row(mark, rule.rule, rule.target, "yes" if rule.matched else "no", Text(rule.why))
        return table

    def _share_lines(self) -> list[str]:
        key = key_of(self.asked)
        return [
            f"{name}: {share.percent:g} % of the keys go to {share.target}; "
            f"this key {'is' if share.takes(key) else 'is not'} among them"
            for name, share in self.shares.items()
        ]

    def _instance_lines(self) -> list[str]:
        if self.decision is None:
            return []
        target = self.decision.target
        if not self.instances:
            return [f"instances of {target}: unknown, no worker tells how they stand"]
        return [
            f"instance {instance.name} of {target}: breaker {instance.breaker}, "
            f"{instance.calls} of {instance.limit} calls under way (worker {process})"
            for process, instance in self.instances
        ]


def _instances(standing: Standing, target: str) -> list[tuple[str, InstanceState]]:
    return [
        (process.process, instance)
        for process in standing.processes
        if (read := process.reads.get(target)) is not None
        for instance in read.instances
    ]


def _plain(process: str, instance: InstanceState) -> dict[str, Any]:
    return {"worker": process, **instance.model_dump()}
