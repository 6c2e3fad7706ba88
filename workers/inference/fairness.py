"""Whose messages are whose, and how much they count: from a record's headers and the topology's tenants."""

from schemas import headers as h
from workers.core.topology.tenants import Tenants
from workers.inference.message import Message
from workers.policies.turns import BATCH, INTERACTIVE, Flow

_PRIORITIES = {"interactive": INTERACTIVE, "batch": BATCH}


class Flows:
    """The flow of every message. Tenants that the topology does not name, and messages without one, share one flow."""

    def __init__(self, tenants: Tenants) -> None:
        self._flows = {
            (name, priority): Flow(name, tenant.weight, priority)
            for name, tenant in tenants.items()
            for priority in _PRIORITIES.values()
        }
        self._usual = {name: _PRIORITIES[tenant.priority] for name, tenant in tenants.items()}
        self._others = {priority: Flow(None, 1.0, priority) for priority in _PRIORITIES.values()}

    def of(self, message: Message) -> Flow:
        """By tenant, and by what the message itself says of its priority, else its tenant."""
        headers = message.record.headers
        tenant = h.get(headers, h.TENANT)
        usual = self._usual.get(tenant, INTERACTIVE) if tenant is not None else INTERACTIVE
        priority = _PRIORITIES.get(h.get(headers, h.PRIORITY) or "", usual)
        return (
            self._flows.get((tenant, priority), self._others[priority]) if tenant else self._others[priority]
        )
