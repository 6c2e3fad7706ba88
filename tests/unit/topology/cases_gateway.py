"""Gateways that could not do what they say, and tenants that could not be told apart."""

from tests.unit.topology.cases_form import Case
from tests.unit.topology.support import MINIMAL

HASH = "sha256:" + "a" * 64

GATEWAY: list[Case] = [
    (MINIMAL + "gateway: {prot: 1}\n", 8, "gateway.prot", "did you mean 'port'?"),
    (MINIMAL + "gateway: {port: 70000}\n", 8, "gateway.port", "at most 65535"),
    (MINIMAL + "gateway: {grpc_port: 8080}\n", 8, "gateway.grpc_port", "is the port of HTTP already"),
    (MINIMAL + "gateway: {wait: 10m}\n", 8, "gateway.wait", "clients wait 10m"),
    (MINIMAL + "gateway: {longest_wait: 5s}\n", 8, "gateway.longest_wait", "5s at most"),
    (
        MINIMAL + "gateway: {limits: {in_flight: 10, in_flight_per_client: 20}}\n",
        8,
        "gateway.limits.in_flight_per_client",
        "could never have more",
    ),
    (
        MINIMAL + "gateway: {cors: {origins: ['*', 'https://a.example']}}\n",
        8,
        "gateway.cors.origins",
        "stands for all",
    ),
    (MINIMAL + "gateway: {tls: {certificate_file: a.pem}}\n", 8, "gateway.tls.key_file", "is missing"),
    (
        MINIMAL + "gateway: {jwt: {jwks: 'http://id.example', issuer: i, audience: a}}\n",
        8,
        "gateway.jwt.jwks",
        "an https:// address",
    ),
    (
        MINIMAL + "gateway: {jwt: {jwks: keys.json, issuer: i, audience: a, algorithms: [HS256]}}\n",
        8,
        "gateway.jwt.algorithms[0]",
        "must be one of RS256",
    ),
    (MINIMAL + "tenants: {acme: {keys: [rfk_plain]}}\n", 8, "tenants.acme.keys[0]", "is no hash of a key"),
    (
        MINIMAL + f"tenants:\n  a: {{keys: ['{HASH}']}}\n  b: {{keys: ['{HASH}']}}\n",
        10,
        "tenants.b.keys[0]",
        "belongs to 'a' already",
    ),
    (MINIMAL + "tenants: {acme: {targets: [lmm]}}\n", 8, "tenants.acme.targets[0]", "did you mean 'llm'?"),
    (MINIMAL + "tenants: {acme: {burst: 5}}\n", 8, "tenants.acme.burst", "does nothing without `rate`"),
    (MINIMAL + "tenants: {acme: {certificates: app}}\n", 8, "tenants.acme.certificates", "nobody shows one"),
]
