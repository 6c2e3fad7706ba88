"""Which targets a tenant may use, whoever chooses them: the message, a rule, or a fallback."""

from collections.abc import Mapping

from schemas import headers as h
from schemas.headers import Headers
from workers.core.topology.model import Topology

Permits = Mapping[str, frozenset[str]]
"""Targets by tenant. Whoever is not in it may use all of them."""


def permits_of(topology: Topology) -> Permits:
    """Of those tenants that may not use everything."""
    return {name: frozenset(tenant.targets) for name, tenant in topology.tenants.items() if tenant.targets}


def permitted(permits: Permits, headers: Headers) -> frozenset[str] | None:
    """The targets that the tenant of these headers may use; None: all."""
    if not permits:
        return None
    tenant = h.get(headers, h.TENANT)
    return None if tenant is None else permits.get(tenant)
