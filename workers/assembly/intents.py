"""What knows the topology's intents."""

from typing import TYPE_CHECKING

import structlog

from workers.core.settings import Settings
from workers.core.topology.model import Topology
from workers.policies.route import needs_intents

if TYPE_CHECKING:
    from workers.policies.intents import IntentModel

log = structlog.get_logger()


def open_classifier(topology: Topology, settings: Settings) -> "IntentModel | None":
    """What knows the topology's intents; None where no route asks for one."""
    return learned_intents(topology, settings) if needs_intents(topology) else None


def learned_intents(topology: Topology, settings: Settings) -> "IntentModel":
    """Learn the intents from their examples, which takes seconds; kept under `settings.home` for the next start."""
    # numpy and scikit-learn: nobody waits for their import who routes without intents, or has a model already.
    from workers.policies.intents import IntentModel
    from workers.policies.learn import fingerprint, learn
    from workers.stores.intent_models import read_arrays, write_arrays

    path = settings.home / "intents" / f"{fingerprint(topology.intents)}.npz"
    arrays = read_arrays(path)
    if arrays is not None:
        try:
            return IntentModel.from_arrays(arrays)
        except ValueError as error:
            log.warning("a learnt model is not used and is learnt again", path=str(path), error=str(error))
    model = learn(topology.intents)
    log.info("intents_learnt", intents=len(model.names))
    write_arrays(path, model.arrays())
    return model
