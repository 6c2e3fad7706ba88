"""A gateway whose topology changes while it takes requests."""

from typing import Any

import pytest

from tests.unit.gateway.world import World
from tests.unit.topology.support import topology
from workers.core.topology.live import Prepare, Version
from workers.gateway.auth import Authenticator, hash_of
from workers.gateway.live import LiveGateway
from workers.gateway.refusals import RefusalError

LLM = {"type": "openai", "instances": [{"url": "http://127.0.0.1:1/v1"}]}


class File:
    """A topology that changes when a test says so."""

    def __init__(self) -> None:
        self.prepares: list[Prepare] = []

    def subscribe(self, prepare: Prepare) -> None:
        self.prepares.append(prepare)

    async def change(self, **changes: Any) -> None:
        new = Version("v", topology(targets={"llm": LLM, "new": LLM}, **changes))
        for prepare in self.prepares:
            await (await prepare(new))()


async def test_new_tenants_targets_and_rates_hold_for_the_next_request() -> None:
    world, file = World(), File()
    relay = world.relay
    authenticator = Authenticator(world.settings, {}, None)
    LiveGateway(relay, authenticator, lambda _: None, file)  # type: ignore[arg-type]  # asked to subscribe alone
    assert (authenticator.required, relay.allowed(None)) == (False, frozenset({"llm", "orders"}))
    acme = {"keys": hash_of("secret"), "targets": "new", "rate": 0.001, "burst": 1}
    relay.admission.enter("client", None)
    await file.change(tenants={"acme": acme})
    assert authenticator.required
    assert relay.allowed("acme") == frozenset({"new"})
    assert relay.allowed(None) == frozenset({"llm", "new"})
    assert relay.admission.in_flight == 1, "what was under way before stays counted"
    relay.admission.enter("client", "acme")
    with pytest.raises(RefusalError):
        relay.admission.enter("client", "acme")
