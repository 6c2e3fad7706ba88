"""Which target answers a message: the routes of the topology, compiled once, asked for every message."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from schemas import headers as h
from workers.core.errors import UsageError
from workers.core.topology.model import Topology
from workers.core.topology.routing import Route
from workers.policies.classify import KeywordIndex
from workers.policies.compile import Compiler, intents_of
from workers.policies.conditions import AllOf
from workers.policies.guess import Classifier, Guess
from workers.policies.named import NAMED, named_target, no_such_target
from workers.policies.permits import permits_of
from workers.policies.prefer import Choice, Speeds
from workers.policies.share import Share, key_of
from workers.policies.subject import Asked, Subject, guess_all


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a message goes, and a copy of it. `confidence` is 1 unless an intent decided.

    `allowed` False: its tenant may not use the target, so the message is refused.
    """

    target: str
    rule: str
    confidence: float = 1.0
    shadow: str | None = None
    allowed: bool = True

    @property
    def refusal(self) -> str:
        """What to tell whoever asked, where it is not allowed."""
        how = "the message names" if self.rule == NAMED else f"the route {self.rule!r} leads to"
        return f"{how} the target {self.target!r}, which its tenant may not use"


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
                confidence = round(guess.confidence, 4)
                decision = Decision(self.target, self.name, confidence, None, self.always.allowed)
        if self.canary is None and self.shadow is None and self.choice is None:
            return decision
        return self._shared(decision, subject.asked)

    def _shared(self, decision: Decision, asked: Asked) -> Decision:
        key = key_of(asked)
        target = self.target if self.choice is None else self.choice.pick(asked.request, key)
        allowed = decision.allowed
        if self.canary is not None and self.canary.takes(key):
            target, allowed = self.canary.target, True
        shadow = self.shadow.target if self.shadow is not None and self.shadow.takes(key) else None
        # A copy for the target that answers anyway would only pay it twice.
        shadow = None if shadow == target else shadow
        return Decision(target, self.name, decision.confidence, shadow, allowed)

    def within(self, targets: frozenset[str]) -> "Rule":
        """The same rule for somebody who may use these targets alone. What is left of it decides, not the next rule."""
        choice = None if self.choice is None else self.choice.within(targets)
        target = self.target if choice is None else choice.candidates[0].name
        return replace(
            self,
            target=target,
            always=Decision(target, self.name, allowed=target in targets),
            canary=self.canary if self.canary is not None and self.canary.target in targets else None,
            shadow=self.shadow if self.shadow is not None and self.shadow.target in targets else None,
            choice=choice,
        )

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
    of_tenants: Mapping[str, "Router"] = field(default_factory=dict)
    """The same routes for each tenant that may not use every target."""

    def within(self, targets: frozenset[str]) -> "Router":
        """The same routes for somebody who may use these targets alone."""
        by_name = {name: replace(each, allowed=name in targets) for name, each in self.by_name.items()}
        return replace(self, rules=tuple(rule.within(targets) for rule in self.rules), by_name=by_name)

    def of(self, asked: Asked) -> "Router":
        """The routes for the tenant of a message."""
        tenant = h.get(asked.headers, h.TENANT) if self.of_tenants else None
        return self if tenant is None else self.of_tenants.get(tenant, self)

    def decide(self, asked: Asked) -> Decision | None:
        """The target that the message names, else the first rule that holds; None where there is none."""
        if self.of_tenants and (router := self.of(asked)) is not self:
            return router.decide(asked)
        name = named_target(asked.headers)
        if name is not None:
            return self.by_name.get(name)
        return _first(self.rules, Subject(asked, self.index, self.model))

    def decide_many(self, asked: Sequence[Asked]) -> list[Decision | None]:
        """The same for many. The classifier is asked once, about those that reach a rule with an intent; for each
        tenant that may not use every target, once more.
        """
        if not self.of_tenants:
            return self._decide_all(asked)
        groups: dict[int, list[int]] = {}
        routers = [self.of(each) for each in asked]
        for number, router in enumerate(routers):
            groups.setdefault(id(router), []).append(number)
        decided: list[Decision | None] = [None] * len(asked)
        for numbers in groups.values():
            theirs = routers[numbers[0]]._decide_all([asked[number] for number in numbers])  # noqa: SLF001 - of our class
            for number, decision in zip(numbers, theirs, strict=True):
                decided[number] = decision
        return decided

    def _decide_all(self, asked: Sequence[Asked]) -> list[Decision | None]:
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
        """Why `decide` found no target, or one that the message's tenant may not use."""
        decision = self.decide(asked)
        if decision is not None:
            return decision.refusal
        name = named_target(asked.headers)
        if name is not None:
            return no_such_target(name, self.by_name)
        return "no route takes this message, and there is no default"

    def guess(self, asked: Asked) -> Guess | None:
        """What the message is about; None without intents."""
        return Subject(asked, self.index, self.model).guess()

    def explain(self, asked: Asked) -> list[Explanation]:
        """What every rule says, in order; the first that matched is the decision."""
        if (router := self.of(asked)) is not self:
            return router.explain(asked)
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
    router = Router(tuple(rules), index, model, asks_from, by_name)
    of_tenants = {tenant: router.within(targets) for tenant, targets in permits_of(topology).items()}
    return replace(router, of_tenants=of_tenants) if of_tenants else router


def _shares(route: Route) -> tuple[Share | None, Share | None]:
    canary, shadow = route.canary, route.shadow
    return (
        None if canary is None else Share.of(canary.to, canary.percent, route.name, "canary"),
        None if shadow is None else Share.of(shadow.to, shadow.percent, route.name, "shadow"),
    )
