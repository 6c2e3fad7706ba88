"""Which target answers a message: the routes of the topology, compiled once, asked for every message."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workers.core.errors import UsageError
from workers.core.topology.model import Topology
from workers.core.topology.routing import Route
from workers.policies.classify import KeywordIndex
from workers.policies.compile import Compiler, intents_of
from workers.policies.conditions import AllOf
from workers.policies.guess import Classifier, Guess
from workers.policies.named import NAMED, named_target, no_such_target
from workers.policies.prefer import Choice, Speeds
from workers.policies.share import Share, key_of
from workers.policies.subject import Asked, Subject, guess_all


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a message goes, and a copy of it. `confidence` is 1 unless an intent decided."""

    target: str
    rule: str
    confidence: float = 1.0
    shadow: str | None = None


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
    canary: Share | None = None
    shadow: Share | None = None
    choice: Choice | None = None

    def decide(self, subject: Subject) -> Decision | None:
        """The decision of this rule, where it holds."""
        if not self.when.holds(subject):
            return None
        decision = self.always
        if self.intents:
            guess = subject.guess()
            if guess is not None and guess.intent in self.intents:
                decision = Decision(self.target, self.name, round(guess.confidence, 4))
        if self.canary is None and self.shadow is None and self.choice is None:
            return decision
        return self._shared(decision, subject.asked)

    def _shared(self, decision: Decision, asked: Asked) -> Decision:
        key = key_of(asked)
        target = self.target if self.choice is None else self.choice.pick(asked.request, key)
        if self.canary is not None and self.canary.takes(key):
            target = self.canary.target
        shadow = self.shadow.target if self.shadow is not None and self.shadow.takes(key) else None
        # A copy for the target that answers anyway would only pay it twice.
        return Decision(target, self.name, decision.confidence, None if shadow == target else shadow)

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
    by_name: Mapping[str, Decision] = field(default_factory=dict)
    """The decision for a message that names its target."""

    def decide(self, asked: Asked) -> Decision | None:
        """The target that the message names, else the first rule that holds; None where there is none."""
        name = named_target(asked.headers)
        if name is not None:
            return self.by_name.get(name)
        return _first(self.rules, Subject(asked, self.index, self.model))

    def decide_many(self, asked: Sequence[Asked]) -> list[Decision | None]:
        """The same for many. The classifier is asked once, about those that reach a rule with an intent."""
        subjects = [Subject(each, self.index, self.model) for each in asked]
        rules = self.rules[: self.asks_from]
        names = [named_target(each.headers) for each in asked]
        decided = [
            _first(rules, subject) if name is None else self.by_name.get(name)
            for subject, name in zip(subjects, names, strict=True)
        ]
        left = [number for number, name in enumerate(names) if name is None and decided[number] is None]
        if left and self.model is not None and self.asks_from < len(self.rules):
            guess_all([subjects[number] for number in left], self.model)
            rules = self.rules[self.asks_from :]
            for number in left:
                decided[number] = _first(rules, subjects[number])
        return decided

    def shares(self, decision: Decision) -> dict[str, Share]:
        """The canary and the shadow of the rule that decided, where it has them."""
        rule = next((rule for rule in self.rules if rule.name == decision.rule), None)
        shares = {"canary": rule.canary, "shadow": rule.shadow} if rule is not None else {}
        return {name: share for name, share in shares.items() if share is not None}

    def why_nowhere(self, asked: Asked) -> str:
        """Why `decide` found no target."""
        name = named_target(asked.headers)
        if name is not None:
            return no_such_target(name, self.by_name)
        return "no route takes this message, and there is no default"

    def guess(self, asked: Asked) -> Guess | None:
        """What the message is about; None without intents."""
        return Subject(asked, self.index, self.model).guess()

    def explain(self, asked: Asked) -> list[Explanation]:
        """What every rule says, in order; the first that matched is the decision."""
        subject = Subject(asked, self.index, self.model)
        rules = [rule.explain(subject) for rule in self.rules]
        name = named_target(asked.headers)
        if name is None:
            return rules
        known = name in self.by_name
        why = "the message names this target" if known else no_such_target(name, self.by_name)
        return [Explanation(NAMED, name, known, why), *rules]


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


def compile_routes(
    topology: Topology, model: Classifier | None = None, speeds: Speeds | None = None
) -> Router:
    """Compile the routes; raises `UsageError` that names the route at fault.

    `model` has learnt the topology's intents; without rules that ask for one it may be None. `speeds`: where the figures
    of targets are kept up to date.
    """
    speeds = speeds or Speeds()
    compiler = Compiler()
    rules: list[Rule] = []
    for route in topology.routes:
        for target in route.targets:
            if target not in topology.targets:
                raise UsageError(f"route {route.name!r} leads to {target!r}, which is not among the targets")
        try:
            when = compiler.compile(route.when)
        except ValueError as error:
            raise UsageError(f"route {route.name!r}: {error}") from error
        intents = intents_of(when)
        if intents and model is None:
            raise UsageError(
                f"route {route.name!r} asks for an intent, and `intents` has no examples to learn from"
            )
        always = Decision(route.to, route.name)
        choice = None
        if route.prefer is not None:
            choice = Choice.of(topology, route.targets, route.prefer, speeds)
        rules.append(Rule(route.name, route.to, when, intents, always, *_shares(route), choice))
    index = KeywordIndex.build(compiler.keywords)
    asks_from = next((number for number, rule in enumerate(rules) if rule.intents), len(rules))
    by_name = {target: Decision(target, NAMED) for target in topology.targets}
    return Router(tuple(rules), index, model, asks_from, by_name)


def _shares(route: Route) -> tuple[Share | None, Share | None]:
    canary, shadow = route.canary, route.shadow
    return (
        None if canary is None else Share.of(canary.to, canary.percent, route.name, "canary"),
        None if shadow is None else Share.of(shadow.to, shadow.percent, route.name, "shadow"),
    )
