"""Which target answers a message: the routes of the topology, compiled once, asked for every message."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from workers.core.errors import UsageError
from workers.core.topology.model import Topology
from workers.policies.classify import KeywordIndex
from workers.policies.compile import Compiler, intents_of
from workers.policies.conditions import AllOf
from workers.policies.guess import Classifier, Guess
from workers.policies.subject import Asked, Subject, guess_all


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a message goes. `confidence` is 1 unless an intent decided."""

    target: str
    rule: str
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one rule says about a message, for people."""

    rule: str
    target: str
    matched: bool
    why: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A route, compiled; without conditions it always holds. `intents` are those that it asks for anywhere."""

    name: str
    target: str
    when: AllOf
    intents: frozenset[str]
    always: Decision

    def decide(self, subject: Subject) -> Decision | None:
        """The decision of this rule, where it holds."""
        if not self.when.holds(subject):
            return None
        if not self.intents:
            return self.always
        guess = subject.guess()
        if guess is None or guess.intent not in self.intents:
            return self.always
        return Decision(self.target, self.name, round(guess.confidence, 4))

    def explain(self, subject: Subject) -> Explanation:
        """The same with reasons; the first condition that fails is the reason against."""
        return Explanation(self.name, self.target, self.when.holds(subject), self.when.why(subject))


@dataclass(frozen=True, slots=True)
class Router:
    """The compiled routes of one topology. Immutable, so a new topology is a new router."""

    rules: tuple[Rule, ...]
    index: KeywordIndex = field(repr=False)
    model: Classifier | None = None
    asks_from: int = 0
    """The number of the first rule that asks for an intent; as many as there are rules where none does."""

    def decide(self, asked: Asked) -> Decision | None:
        """The first rule that holds; None where none does."""
        return _first(self.rules, Subject(asked, self.index, self.model))

    def decide_many(self, asked: Sequence[Asked]) -> list[Decision | None]:
        """The same for many. The classifier is asked once, about those that reach a rule with an intent."""
        subjects = [Subject(each, self.index, self.model) for each in asked]
        rules = self.rules[: self.asks_from]
        decided = [_first(rules, subject) for subject in subjects]
        left = [number for number, decision in enumerate(decided) if decision is None]
        if left and self.model is not None and self.asks_from < len(self.rules):
            guess_all([subjects[number] for number in left], self.model)
            rules = self.rules[self.asks_from :]
            for number in left:
                decided[number] = _first(rules, subjects[number])
        return decided

    def guess(self, asked: Asked) -> Guess | None:
        """What the message is about; None without intents."""
        return Subject(asked, self.index, self.model).guess()

    def explain(self, asked: Asked) -> list[Explanation]:
        """What every rule says, in order; the first that matched is the decision."""
        subject = Subject(asked, self.index, self.model)
        return [rule.explain(subject) for rule in self.rules]


def _first(rules: tuple[Rule, ...], subject: Subject) -> Decision | None:
    for rule in rules:
        decision = rule.decide(subject)
        if decision is not None:
            return decision
    return None


def needs_intents(topology: Topology) -> bool:
    """Whether a rule asks for an intent, so that `compile_routes` needs a model."""
    return bool(topology.intents) and any(
        intents_of(Compiler().compile(route.when)) for route in topology.routes
    )


def compile_routes(topology: Topology, model: Classifier | None = None) -> Router:
    """Compile the routes; raises `UsageError` that names the route at fault.

    `model` has learnt the topology's intents; without rules that ask for one it may be None.
    """
    compiler = Compiler()
    rules: list[Rule] = []
    for route in topology.routes:
        if route.to not in topology.targets:
            raise UsageError(f"route {route.name!r} leads to {route.to!r}, which is not among the targets")
        try:
            when = compiler.compile(route.when)
        except ValueError as error:
            raise UsageError(f"route {route.name!r}: {error}") from error
        intents = intents_of(when)
        if intents and model is None:
            raise UsageError(
                f"route {route.name!r} asks for an intent, and `intents` has no examples to learn from"
            )
        rules.append(Rule(route.name, route.to, when, intents, Decision(route.to, route.name)))
    index = KeywordIndex.build(compiler.keywords)
    asks_from = next((number for number, rule in enumerate(rules) if rule.intents), len(rules))
    return Router(tuple(rules), index, model, asks_from)
