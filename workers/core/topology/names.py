"""The names of topics and consumer groups that follow from a topology."""

from workers.core.topology.model import Topology


class Names:
    """Topic and group names of one deployment."""

    def __init__(self, topology: Topology) -> None:
        topics = topology.topics
        self.requests = topics.requests.name or "model_requests"
        self.responses = topics.responses.name or "model_responses"
        self.chunks = topics.chunks.name or "model_chunks"
        self.dead_letters = topics.dead_letters.name or f"dlq.{self.requests}"
        self.ledger = topics.ledger.name or "dead_letter_ledger"
        self.logs = topics.logs.name or "fleet_logs"
        # Two deployments on one cluster differ in their requests topic, and must not share groups.
        usual = self.requests == "model_requests"
        self._deployment = "relayfleet" if usual else f"relayfleet.{self.requests}"
        self.shadow = topics.shadow.name or ("model_shadow" if usual else f"shadow.{self.requests}")
        self.state = topics.state.name or ("fleet_state" if usual else f"state.{self.requests}")
        self._targets = {name: target.topic.name for name, target in topology.targets.items()}
        self._known = frozenset(topology.targets)

    def follow(self, topology: Topology) -> None:
        """Learn the targets of a changed topology; topics of those that are gone keep their names for what is left there."""
        self._targets |= {name: target.topic.name for name, target in topology.targets.items()}
        self._known = frozenset(topology.targets)

    def target(self, target: str) -> str:
        """The topic that a target's workers read."""
        return self._targets[target] or f"{self.requests}.{target}"

    def knows(self, target: str) -> bool:
        """Whether the topology has this target."""
        return target in self._known

    def retry(self, target: str, delay: str) -> str:
        """The topic where a target's messages wait for `delay`, written as in the topology (`30s`, `5m`)."""
        return f"{self.target(target)}.retry.{delay}"

    @property
    def router_group(self) -> str:
        """The consumer group of the routers."""
        return f"{self._deployment}.router"

    def gateway_group(self, kind: str) -> str:
        """The consumer group of the gateways for what comes back to them: `responses` or `chunks`."""
        return f"{self._deployment}.gateway.{kind}"

    def worker_group(self, target: str) -> str:
        """The consumer group of a target's workers."""
        return f"{self._deployment}.worker.{target}"
