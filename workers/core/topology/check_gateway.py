"""The gateway and its tenants: names that lead nowhere, keys that two tenants share, settings that do nothing."""

from collections.abc import Iterator

from workers.core.topology.gateway import Gateway
from workers.core.topology.parts import Parts
from workers.core.topology.problems import Fault, Path, did_you_mean
from workers.core.topology.values import format_duration


def check_gateway(gateway: Gateway) -> Iterator[Fault]:
    """Faults of `gateway`."""
    if gateway.wait > gateway.longest_wait:
        field = "wait" if "wait" in gateway.model_fields_set else "longest_wait"
        yield Fault(
            ("gateway", field),
            f"clients wait {format_duration(gateway.wait)} unless they ask for less, and {format_duration(gateway.longest_wait)} at most",
            "set `wait` to `longest_wait` or less",
        )
    limits = gateway.limits
    if limits.in_flight_per_client > limits.in_flight and "in_flight_per_client" in limits.model_fields_set:
        yield Fault(
            ("gateway", "limits", "in_flight_per_client"),
            f"one client could never have more than `in_flight`, {limits.in_flight}",
            "set it to `in_flight` or less",
        )
    if gateway.port == gateway.grpc_port != 0:
        yield Fault(("gateway", "grpc_port"), "is the port of HTTP already", "give each a port of its own")
    if "*" in gateway.cors.origins and len(gateway.cors.origins) > 1:
        yield Fault(("gateway", "cors", "origins"), "`*` stands for all others", "leave one of them out")


def check_tenants(parts: Parts) -> Iterator[Fault]:
    """Faults of `tenants`."""
    yield from _shared_proofs(parts)
    for name, tenant in parts.tenants.items():
        path: Path = ("tenants", name)
        for index, target in enumerate(tenant.targets):
            if target not in parts.declared:
                advice = did_you_mean(target, parts.declared)
                yield Fault((*path, "targets", index), f"there is no target {target!r}", advice)
        if tenant.burst is not None and tenant.rate is None:
            yield Fault((*path, "burst"), "does nothing without `rate`", "say how many requests a second")
        if tenant.certificates and not _asks_for_certificates(parts.gateway):
            yield Fault(
                (*path, "certificates"), "nobody shows one", "set `gateway.tls.client_ca_file`", at_key=True
            )


def _shared_proofs(parts: Parts) -> Iterator[Fault]:
    """Keys and certificates that do not tell one tenant from another."""
    holders: dict[tuple[str, str], str] = {}
    for name, tenant in parts.tenants.items():
        for field, proofs in (("keys", tenant.keys), ("certificates", tenant.certificates)):
            for index, proof in enumerate(proofs):
                holder = holders.setdefault((field, proof), name)
                if holder != name or proof in proofs[:index]:
                    at = ("tenants", name, field, index)
                    yield Fault(at, f"belongs to {holder!r} already", "make another one")


def _asks_for_certificates(gateway: Gateway | None) -> bool:
    return gateway is None or (gateway.tls is not None and gateway.tls.client_ca_file is not None)
