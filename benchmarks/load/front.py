"""Traffic through the gateway of clients that ask again under the same id where they got no answer."""

import uuid
from collections.abc import Callable

import numpy as np

from benchmarks.fleet import Fleet
from benchmarks.load.calls import FORWARD, OK, call
from benchmarks.load.http import Spec
from benchmarks.load.outcomes import Outcomes
from benchmarks.load.traffic import Load, Traffic


def drive(fleet: Fleet, load: Load, during: Callable[[float], None]) -> Traffic:
    """As `traffic.drive`, but a message has arrived when its client has the answer; nothing is unsent."""
    prefix = uuid.uuid4().hex[:8]
    url = f"{fleet.gateway_url}/api/forward"
    spec = Spec(url, FORWARD, 0.0, load.seconds, "", load.rate, ids=prefix, persist=load.patience)
    with Outcomes(fleet.kafka.bootstrap, fleet.responses, prefix) as outcomes:
        calls = call(spec, fleet.pids(), load.warmup, during)
    start = calls.spec.start
    arrived = np.where(calls.status == OK, calls.finished, np.nan)
    for number, outcome in outcomes.first.items():
        if outcome.status != "ok":  # the client was told so, with another status
            arrived[number] = outcome.arrived - start
    told = {"count": len(arrived)}
    again = outcomes.again.total()
    return Traffic(load, start, calls.intended, arrived, outcomes.first, again, frozenset(), told, calls.use)
