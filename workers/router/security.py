"""The topology's Kafka security, as aiokafka (through Faust) wants it. librdkafka's form is in `workers.kafka`."""

import ssl
from collections.abc import Callable

from faust.auth import SASLCredentials, SSLCredentials
from faust.types.auth import CredentialsT

from workers.core.errors import UsageError
from workers.core.topology.model import Security
from workers.kafka.security import ssl_context


def credentials(
    security: Security, tls: Callable[[Security], ssl.SSLContext | None] = ssl_context
) -> CredentialsT | None:
    """Faust's credentials, None for plain text. Raises `UsageError` for what aiokafka can't do or files it can't read."""
    context = tls(security)
    if security.protocol in {"SASL_PLAINTEXT", "SASL_SSL"}:
        return _sasl(security, context)
    return SSLCredentials(context) if context is not None else None


def _sasl(security: Security, context: ssl.SSLContext | None) -> SASLCredentials:
    if security.mechanism == "OAUTHBEARER":
        raise UsageError(
            "kafka.security.mechanism OAUTHBEARER is not supported by the router; use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
        )
    if security.mechanism is None or security.username is None or security.password is None:
        raise UsageError(f"kafka.security: {security.protocol} needs mechanism, username and password")
    return SASLCredentials(
        username=security.username,
        password=security.password.get_secret_value(),
        mechanism=security.mechanism,
        ssl_context=context,
    )
