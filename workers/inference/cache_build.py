"""The cache of a target from the topology."""

from workers.core.clock import Clock
from workers.core.metrics import Metrics
from workers.core.ports import Answer, CacheBounds
from workers.core.topology.caching import Semantic
from workers.core.topology.model import Topology
from workers.core.topology.names import Names
from workers.inference.cached import Cached, CachePolicy
from workers.policies.similar import SimilarPolicy, SimilarQuestions
from workers.stores.shared import LEASE, SharedStores

_ANSWER_DEPENDS_ON = frozenset({"type", "model", "parameters", "query", "answer", "not_found"})


def build_cache(
    topology: Topology, target: str, shared: SharedStores, metrics: Metrics, clock: Clock
) -> Cached | None:
    """None where the topology asks for none."""
    settings = topology.targets[target]
    cache = settings.cache
    if cache is None:
        return None
    bounds = CacheBounds(cache.ttl, cache.max_entries, cache.max_bytes)
    store = shared.answers(Names(topology).requests, target, bounds)
    own = settings.model_dump(mode="json", include=set(_ANSWER_DEPENDS_ON))
    policy = CachePolicy(cache.ttl, cache.shared, own, LEASE)
    return Cached(target, store, policy, metrics, clock, _similar(cache.semantic))


def _similar(semantic: Semantic | None) -> SimilarQuestions[Answer] | None:
    if semantic is None:
        return None
    # numpy comes with it: nobody waits for that import who does not ask for likeness.
    from workers.policies.intents import LOOKED_AT, ngrams

    policy = SimilarPolicy(semantic.threshold, semantic.margin, semantic.entries, LOOKED_AT)
    return SimilarQuestions(policy, ngrams)
